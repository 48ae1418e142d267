#!/usr/bin/env python3
"""The stack of deploy/cloudformation, deployed into emulators and looked at.

ministack takes all of it but traffic mirroring, which moto has (targets, filters, sessions; no filter rules: those are
asked what they would mirror). What neither has in CloudFormation is named in `ELSEWHERE`; alarms on a query (`Metrics`)
ministack does not take.
"""

import base64
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import tomllib
import unittest

import alarms as alarm_states
import emulator
import template

# Resource types that ministack's CloudFormation does not know: checked here by their properties, or made in moto.
ELSEWHERE = {
    "AWS::EC2::Instance", "AWS::EC2::NetworkInterface", "AWS::EC2::SecurityGroupIngress", "AWS::EC2::TrafficMirrorFilter",
    "AWS::EC2::TrafficMirrorFilterRule", "AWS::EC2::TrafficMirrorTarget", "AWS::RAM::ResourceShare", "AWS::SSM::Document",
}
NAME = "cleartap"
SOURCE_ROLES = [f"arn:aws:iam::{account}:role/cleartap-sources" for account in ("111122223333", "444455556666")]


def deploy(aws, ids, **parameters):
    """Deploy the template without what is elsewhere; references to that become `ids`."""
    whole = template.load("cleartap.yaml")
    gone = {name for name, one in whole["Resources"].items() if one["Type"] in ELSEWHERE or "Metrics" in one["Properties"]}
    for name in gone:
        del whole["Resources"][name]
    ec2, cfn = aws.client("ec2"), aws.client("cloudformation")
    aws.client("ssm").put_parameter(Name="/images/sensor", Value="ami-12345678", Type="String", Overwrite=True)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24")["Subnet"]["SubnetId"] for n in (1, 2)]
    given = {"VpcId": vpc, "SubnetIds": ",".join(subnets), "PackageBucket": "packages", "PackageSha256": "0" * 64,
             "ImageId": "/images/sensor", **parameters}
    cfn.create_stack(StackName=NAME, TemplateBody=json.dumps(substitute(whole, ids, gone)),
                     Capabilities=["CAPABILITY_IAM"],
                     Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in given.items()])
    end = time.monotonic() + 60
    while True:
        stack = cfn.describe_stacks(StackName=NAME)["Stacks"][0]
        if not stack["StackStatus"].endswith("_IN_PROGRESS"):
            break
        assert time.monotonic() < end, "the stack is not done after a minute"
        time.sleep(0.2)
    events = cfn.describe_stack_events(StackName=NAME)["StackEvents"]
    failed = [(e["LogicalResourceId"], e.get("ResourceStatusReason")) for e in events if "FAILED" in e["ResourceStatus"]]
    assert stack["StackStatus"] == "CREATE_COMPLETE", (stack["StackStatus"], failed)
    resources = cfn.describe_stack_resources(StackName=NAME)["StackResources"]
    return vpc, {r["LogicalResourceId"]: r["PhysicalResourceId"] for r in resources}


def substitute(value, ids, gone):
    """References to resources that are elsewhere, as their ids: in Ref, GetAtt and the variables of Sub."""
    if isinstance(value, list):
        return [substitute(one, ids, gone) for one in value]
    if isinstance(value, str):
        for name in gone:
            value = value.replace("${" + name + "}", ids.get(name, f"id-of-{name}"))
        return value
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        (key, target), = value.items()
        name = target[0] if key == "Fn::GetAtt" else target
        if key in ("Ref", "Fn::GetAtt") and name in gone:
            return ids.get(name, f"id-of-{name}")
    return {key: substitute(one, ids, gone) for key, one in value.items()}


def mirror(moto, balancer=None):
    """Target and filter, as the template has them, in moto; a network interface where there is no balancer."""
    ec2, whole = moto.client("ec2"), template.load("cleartap.yaml")
    if balancer:
        target = {"NetworkLoadBalancerArn": balancer}
    else:
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
        interface = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
        target = {"NetworkInterfaceId": interface}
    properties = whole["Resources"]["MirrorFilter"]["Properties"]
    made = ec2.create_traffic_mirror_target(Description="cleartap", **target)["TrafficMirrorTarget"]
    filtering = ec2.create_traffic_mirror_filter(Description=properties["Description"])["TrafficMirrorFilter"]
    return {"MirrorTarget": made["TrafficMirrorTargetId"], "MirrorFilter": filtering["TrafficMirrorFilterId"]}, made


def mirrored(rules, direction, protocol, v6, port):
    """What a filter does with a packet: the lowest number that matches decides, and nothing is mirrored by default."""
    for rule in sorted(rules, key=lambda rule: rule["RuleNumber"]):
        ports = rule.get("DestinationPortRange", {"FromPort": 0, "ToPort": 65535})
        if (rule["TrafficDirection"] == direction and rule.get("Protocol", protocol) == protocol
                and (":" in rule["DestinationCidrBlock"]) == v6 and ports["FromPort"] <= port <= ports["ToPort"]):
            return rule["RuleAction"] == "accept"
    return False


class Filter(unittest.TestCase):
    def setUp(self):
        self.template = template.load("cleartap.yaml")
        self.rules = [r["Properties"] for r in template.of_type(self.template, "AWS::EC2::TrafficMirrorFilterRule").values()]

    def test_a_filter_has_at_most_ten_rules_and_no_number_twice_in_a_direction(self):
        self.assertLessEqual(len(self.rules), 10)
        numbers = [(r["TrafficDirection"], r["RuleNumber"]) for r in self.rules]
        self.assertEqual(len(set(numbers)), len(numbers))

    def test_tcp_and_udp_of_both_families_are_mirrored_both_ways(self):
        for direction in ("ingress", "egress"):
            for protocol in (6, 17):
                for v6 in (False, True):
                    self.assertTrue(mirrored(self.rules, direction, protocol, v6, 5432), (direction, protocol, v6))

    def test_the_mirror_itself_is_not_mirrored_and_the_resolver_is(self):
        for v6 in (False, True):
            self.assertFalse(mirrored(self.rules, "ingress", 17, v6, 4789))
            self.assertTrue(mirrored(self.rules, "ingress", 6, v6, 4789))
        self.assertEqual(self.template["Resources"]["MirrorFilter"]["Properties"]["NetworkServices"], ["amazon-dns"])


class Fleet(unittest.TestCase):
    """Many sensors behind a load balancer."""

    @classmethod
    def setUpClass(cls):
        cls.aws = cls.enterClassContext(emulator.start("ministack"))
        cls.moto = cls.enterClassContext(emulator.start("moto_server"))
        cls.ids, cls.target = mirror(cls.moto, "arn:aws:elasticloadbalancing:us-east-1:1:loadbalancer/net/x/1")
        cls.vpc, cls.made = deploy(cls.aws, cls.ids, Mode="fleet", SourceCidr="10.0.0.0/16", AlarmEmail="sec@example.com",
                                   SecurityHub="yes", SessionKeeper="apply", CreateEndpoints="yes",
                                   RouteTableIds="rtb-1,rtb-2", CanaryAlarm="yes", SensorsMin="2",
                                   SourceRoleArns=",".join(SOURCE_ROLES))

    def user_data(self):
        ec2 = self.aws.client("ec2")
        version = ec2.describe_launch_template_versions(LaunchTemplateId=self.made["SensorTemplate"])
        data = version["LaunchTemplateVersions"][0]["LaunchTemplateData"]
        return data, base64.b64decode(data["UserData"]).decode()

    def test_the_balancer_takes_udp_4789_and_asks_healthz(self):
        elb = self.aws.client("elbv2")
        listeners = elb.describe_listeners(LoadBalancerArn=self.made["Balancer"])["Listeners"]
        self.assertEqual([(one["Protocol"], one["Port"]) for one in listeners], [("UDP", 4789)])
        group, = elb.describe_target_groups(TargetGroupArns=[self.made["Sensors"]])["TargetGroups"]
        self.assertEqual((group["Protocol"], group["Port"], group["HealthCheckPath"], group["HealthCheckPort"],
                          group["HealthCheckProtocol"]), ("UDP", 4789, "/healthz", "8080", "HTTP"))
        told = elb.describe_target_group_attributes(TargetGroupArn=self.made["Sensors"])["Attributes"]
        told = {one["Key"]: one["Value"] for one in told}
        self.assertEqual((told["stickiness.enabled"], told["stickiness.type"]), ("true", "source_ip"))
        self.assertEqual(told["deregistration_delay.timeout_seconds"], "300")
        told = elb.describe_load_balancer_attributes(LoadBalancerArn=self.made["Balancer"])["Attributes"]
        self.assertIn({"Key": "load_balancing.cross_zone.enabled", "Value": "true"}, told)
        balancer, = elb.describe_load_balancers(LoadBalancerArns=[self.made["Balancer"]])["LoadBalancers"]
        self.assertEqual((balancer["Scheme"], balancer["Type"]), ("internal", "network"))

    def test_the_group_has_the_sensors_asked_for_in_the_target_group(self):
        group, = self.aws.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
        self.assertEqual((group["MinSize"], group["MaxSize"], group["HealthCheckType"]), (2, 4, "ELB"))
        # ministack does not say which target groups a group has.
        self.assertEqual(template.load("cleartap.yaml")["Resources"]["SensorGroup"]["Properties"]["TargetGroupARNs"],
                         [{"Ref": "Sensors"}])

    def test_sensors_have_imdsv2_an_encrypted_volume_and_no_public_address(self):
        data, _ = self.user_data()
        self.assertEqual((data["MetadataOptions"]["HttpTokens"], data["MetadataOptions"]["HttpPutResponseHopLimit"]),
                         ("required", 1))
        self.assertIn(data["BlockDeviceMappings"][0]["Ebs"]["Encrypted"], (True, "true"))
        interface, = data["NetworkInterfaces"]
        self.assertIn(interface["AssociatePublicIpAddress"], (False, "false"))
        self.assertNotIn("KeyName", data, "no SSH")

    def test_the_configuration_that_sensors_get_is_in_order(self):
        _, script = self.user_data()
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
        text = script.split("<<'TOML'\n")[1].split("\nTOML\n")[0]
        self.assertNotIn("${", text)
        config = tomllib.loads(text)
        self.assertEqual(config["cloudwatch"]["namespace"], "cleartap")
        self.assertEqual(config["scopes"], [{"name": self.vpc, "vnis": [7001]}])
        self.assertEqual(config["alerts"]["channels"][0]["sns"]["topic_arn"], self.made["Topic"])
        self.assertEqual(config["sessions"]["target"], self.ids["MirrorTarget"])
        self.assertEqual({one["name"] for one in config["alerts"]["channels"]}, {"topic", "log", "hub"})
        if len(sys.argv) > 1:  # the sensor itself has the last word
            with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
                file.write(text)
                file.flush()
                done = subprocess.run([sys.argv[1], "check", "--config", file.name], capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, done.stderr + done.stdout)

    def test_the_security_group_lets_in_the_copies_and_nothing_else(self):
        group, = self.aws.client("ec2").describe_security_groups(
            GroupIds=[self.made["SensorSecurityGroup"]])["SecurityGroups"]
        inside = [(p["IpProtocol"], p["FromPort"], p["ToPort"], [r["CidrIp"] for r in p["IpRanges"]])
                  for p in group["IpPermissions"]]
        self.assertEqual(inside, [("udp", 4789, 4789, ["10.0.0.0/16"])])

    def test_the_role_may_do_what_it_must_and_no_more(self):
        iam = self.aws.client("iam")
        names = iam.list_role_policies(RoleName=self.made["SensorRole"])["PolicyNames"]
        allowed = {}
        for name in names:
            document = iam.get_role_policy(RoleName=self.made["SensorRole"], PolicyName=name)["PolicyDocument"]
            for one in document["Statement"]:
                actions = one["Action"] if isinstance(one["Action"], list) else [one["Action"]]
                allowed.update({action: one for action in actions})
        self.assertEqual(allowed["cloudwatch:PutMetricData"]["Condition"],
                         {"StringEquals": {"cloudwatch:namespace": "cleartap"}})
        self.assertEqual(allowed["sns:Publish"]["Resource"], self.made["Topic"])
        self.assertIn("securityhub:BatchImportFindings", allowed)
        self.assertEqual(allowed["sts:AssumeRole"]["Resource"], SOURCE_ROLES)
        for action, statement in allowed.items():
            self.assertNotIn("*", action)
            changes = not action.split(":")[1].startswith(("Describe", "Get", "Put"))
            if changes and statement["Resource"] == "*":
                self.fail(f"{action} on everything")
        for action in ("ec2:DeleteTrafficMirrorSession", "ec2:ModifyTrafficMirrorSession"):
            if action in allowed and "Condition" in allowed[action]:
                self.assertEqual(allowed[action]["Condition"],
                                 {"StringEquals": {"ec2:ResourceTag/cleartap:keeper": NAME}})

    def test_the_keeper_keeps_every_account_that_has_a_file(self):
        steps = template.load("cleartap.yaml")["Resources"]["KeeperDocument"]["Properties"]["Content"]["mainSteps"]
        script = steps[0]["inputs"]["runCommand"][1]["Fn::Sub"].replace("${SessionKeeper}", "plan")
        with tempfile.TemporaryDirectory() as folder:
            script = script.replace("/etc/cleartap", folder).replace("cleartap sessions", "echo kept")
            run = lambda: subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
            self.assertEqual(run(), [])
            for name in ("cleartap.toml", "sessions.d/a.toml", "sessions.d/b.toml"):
                path = pathlib.Path(folder, name)
                path.parent.mkdir(exist_ok=True)
                path.touch()
            self.assertEqual([line.split(f"{folder}/")[1] for line in run()], ["cleartap.toml", "sessions.d/a.toml", "sessions.d/b.toml"])

    def test_topic_and_log_are_encrypted_with_the_key_that_rotates(self):
        # ministack does not say with which key a topic is encrypted.
        resources = template.load("cleartap.yaml")["Resources"]
        self.assertEqual(resources["Topic"]["Properties"]["KmsMasterKeyId"], {"Fn::GetAtt": ["Key", "Arn"]})
        self.assertTrue(self.aws.client("kms").describe_key(KeyId=self.made["Key"])["KeyMetadata"]["Enabled"])
        log, = self.aws.client("logs").describe_log_groups(logGroupNamePrefix="/cleartap/")["logGroups"]
        self.assertEqual((log["logGroupName"], log["retentionInDays"]), ("/cleartap/cleartap", 90))
        subscriptions = self.aws.client("sns").list_subscriptions()["Subscriptions"]
        self.assertEqual([(one["Protocol"], one["Endpoint"]) for one in subscriptions], [("email", "sec@example.com")])

    def test_the_target_is_the_balancer_and_sessions_can_be_made_to_it(self):
        self.assertEqual(self.target["Type"], "network-load-balancer")
        ec2 = self.moto.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.1.0/24")["Subnet"]["SubnetId"]
        source = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
        session = ec2.create_traffic_mirror_session(
            NetworkInterfaceId=source, TrafficMirrorTargetId=self.ids["MirrorTarget"],
            TrafficMirrorFilterId=self.ids["MirrorFilter"], SessionNumber=1, VirtualNetworkId=7001)
        self.assertEqual(session["TrafficMirrorSession"]["VirtualNetworkId"], 7001)

    def test_every_way_out_of_the_subnet_has_an_endpoint(self):
        made = self.aws.client("ec2").describe_vpc_endpoints()["VpcEndpoints"]
        services = {one["ServiceName"].split(".")[-1]: one["VpcEndpointType"] for one in made}
        self.assertEqual(services.pop("s3"), "Gateway")
        self.assertLessEqual({"monitoring", "logs", "sns", "ssm", "ec2", "sts", "securityhub", "kms"}, set(services))
        self.assertEqual(set(services.values()), {"Interface"})

    def test_alarms_go_off_when_a_database_is_talked_to_in_clear_and_stay_quiet_with_tls(self):
        cloudwatch = self.aws.client("cloudwatch")
        alarms = cloudwatch.describe_alarms(AlarmNamePrefix="cleartap-")["MetricAlarms"]  # scaling has its own
        alarms = {one["AlarmName"].split("-", 1)[1]: one for one in alarms}
        for name in ("PlaintextDatabase", "PlaintextCache", "HttpCredentials", "CredentialsExposed", "WeakTls"):
            self.assertEqual(alarms[name]["TreatMissingData"], "notBreaching", name)
        for name in ("SensorSilent", "MirrorSilent", "CanarySilent"):
            self.assertEqual(alarms[name]["TreatMissingData"], "breaching", name)
        self.assertEqual(alarms["SensorSilent"]["Threshold"], 2)
        for name, alarm in alarms.items():
            self.assertEqual(alarm["AlarmActions"], [self.made["Topic"]], name)
        cloudwatch.put_metric_data(Namespace="cleartap", MetricData=[
            {"MetricName": name, "Dimensions": [{"Name": "Class", "Value": label}], "Value": value, "Unit": "Count"}
            for name, label, value in (("PlaintextFlows", "database", 3), ("PlaintextFlows", "cache", 0),
                                       ("CredentialsExposedFlows", "http", 0))])
        states = alarm_states.states(cloudwatch, "cleartap-")
        raised = {name for name, state in states.items() if state == "ALARM"}
        # Nobody is there to send heartbeats, and missing ones breach.
        self.assertEqual(raised, {"PlaintextDatabase", "SensorSilent", "MirrorSilent", "CanarySilent"})

    def test_sources_that_do_not_mirror_raise_an_alarm_of_their_own(self):
        # In the sensors' account and, since the metrics are the source's own, in every account of sources.
        for file, way in ((file, way) for file in ("cleartap.yaml", "sources.yaml") for way in ("In", "Out")):
            alarm = template.load(file)["Resources"][f"MirrorSkipped{way}"]["Properties"]
            self.assertIn(f"SUM(NetworkPacketsSkipMirror{way}) FROM SCHEMA(\"AWS/EC2\", InstanceId)",
                          alarm["Metrics"][0]["Expression"])
            self.assertEqual((alarm["Threshold"], alarm["TreatMissingData"]), (0, "notBreaching"))

    def test_the_dashboard_is_there(self):
        body = self.aws.client("cloudwatch").get_dashboard(DashboardName="cleartap-cleartap")["DashboardBody"]
        titles = [one["properties"]["title"] for one in json.loads(body)["widgets"]]
        self.assertIn("Worst edges", titles)
        self.assertEqual(titles[0], "Plaintext share of decided flows (%)")
        self.assertNotIn("${", body)


class Single(unittest.TestCase):
    """One sensor behind a network interface."""

    @classmethod
    def setUpClass(cls):
        cls.aws = cls.enterClassContext(emulator.start("ministack"))
        cls.moto = cls.enterClassContext(emulator.start("moto_server"))
        cls.ids, cls.target = mirror(cls.moto)
        cls.vpc, cls.made = deploy(cls.aws, cls.ids, Mode="single", SessionKeeper="off")

    def test_there_is_no_balancer_no_group_and_no_way_to_change_sessions(self):
        self.assertEqual(self.target["Type"], "network-interface")
        for name in ("Balancer", "SensorGroup", "KeeperPolicy", "KeeperSchedule", "CanarySilent", "Share"):
            self.assertNotIn(name, self.made)

    def test_it_expects_one_heartbeat(self):
        alarms = self.aws.client("cloudwatch").describe_alarms(AlarmNames=["cleartap-SensorSilent"])["MetricAlarms"]
        self.assertEqual([(one["Threshold"], one["TreatMissingData"]) for one in alarms], [(1, "breaching")])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
