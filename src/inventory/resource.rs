//! What an interface belongs to, by what the service that made it wrote: its type, description, requester and tags.
//!
//! The marks are those of AWS's own services as public tools and the API document them; what fits none of them is an
//! interface and nothing more.

use std::sync::Arc;

use super::{Instance, Interface, Tags};
use crate::model::Resource;

/// Which tags are looked at; keys are compared without case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagKeys {
    /// The first of these that a resource has names its owner.
    pub owner: Vec<String>,
    /// Shown, and matched by policy as `key=value`.
    pub shown: Vec<String>,
}

impl Default for TagKeys {
    fn default() -> Self {
        let list = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        Self { owner: list(&["owner", "team"]), shown: list(&["environment", "service", "app"]) }
    }
}

/// What an interface and the instance behind it belong to.
pub(super) fn resource(
    interface: &Interface,
    instance: Option<&Instance>,
    region: &str,
    keys: &TagKeys,
) -> Resource {
    let mut tags = interface.tags.clone();
    tags.extend(instance.map(|instance| instance.tags.clone()).unwrap_or_default());
    let found = Found::of(interface, &tags);
    let arn = |service: &str, resource: &str| -> Arc<str> {
        if resource.starts_with("arn:") {
            return resource.into();
        }
        let (partition, account) = (partition(region), &interface.account);
        format!("arn:{partition}:{service}:{region}:{account}:{resource}").into()
    };
    let id = match &found.resource {
        Some((service, resource)) => arn(service, resource),
        None => arn("ec2", &format!("network-interface/{}", interface.id)),
    };
    let text = |text: &str| (!text.is_empty()).then(|| Arc::from(clean(text)));
    // A managed service is its own group of clients; what remains is grouped by subnet.
    let managed = found.resource.is_some() && found.kind != INSTANCE;
    let group = match found.group {
        Some(group) => Some(Arc::from(clean(&group))),
        None if managed => Some(id.clone()),
        None => text(&interface.subnet),
    };
    let name = found.name.filter(|name| !name.trim().is_empty());
    let name = name.unwrap_or_else(|| interface.id.clone());
    Resource {
        kind: found.kind.into(),
        id,
        name: clean(&name).into(),
        group,
        owner: keys.owner.iter().find_map(|key| text(tag(&tags, key)?)),
        account: text(&interface.account),
        vpc: text(&interface.vpc),
        interface: text(&interface.id),
        service: None,
        tags: shown(&tags, keys),
    }
}

/// The tags that are shown.
pub(super) fn shown(tags: &Tags, keys: &TagKeys) -> Vec<Arc<str>> {
    let is_shown = |key: &str| keys.shown.iter().any(|shown| shown.eq_ignore_ascii_case(key));
    let shown = tags.iter().filter(|(key, _)| is_shown(key));
    shown.map(|(key, value)| clean(&format!("{key}={value}")).into()).collect()
}

/// The value of a tag, whatever case its key is in.
pub(super) fn tag<'a>(tags: &'a Tags, key: &str) -> Option<&'a str> {
    let found = tags.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
    found.map(|(_, value)| value.as_str()).filter(|value| !value.trim().is_empty())
}

/// Names stand in lines, tables and terminals: no control characters, no more than [`NAME_CHARS_MAX`].
pub(super) fn clean(text: &str) -> String {
    let is_odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.trim().chars().map(|c| if is_odd(c) { ' ' } else { c }).take(NAME_CHARS_MAX).collect()
}

/// Longest name kept, in characters.
pub const NAME_CHARS_MAX: usize = 256;

/// What the marks tell.
#[derive(Debug, Default)]
struct Found {
    kind: &'static str,
    /// Service of the ARN, and its resource part (or a whole ARN).
    resource: Option<(&'static str, String)>,
    name: Option<String>,
    group: Option<String>,
}

impl Found {
    fn of(interface: &Interface, tags: &Tags) -> Self {
        Self::by_description(interface, tags)
            .or_else(|| Self::by_type(interface))
            .or_else(|| Self::by_requester(interface))
            .or_else(|| Self::instance(interface, tags))
            .unwrap_or_else(|| Self {
                kind: "network-interface",
                name: tag(tags, "Name").map(str::to_owned),
                group: own_group(tags),
                ..Self::default()
            })
    }

    fn instance(interface: &Interface, tags: &Tags) -> Option<Self> {
        let id = interface.instance.as_deref().filter(|id| id.starts_with("i-"))?;
        Some(Self {
            kind: INSTANCE,
            resource: Some(("ec2", format!("instance/{id}"))),
            name: Some(tag(tags, "Name").unwrap_or(id).to_owned()),
            group: own_group(tags),
        })
    }

    /// What the service wrote.
    fn by_description(interface: &Interface, tags: &Tags) -> Option<Self> {
        let text = interface.description.as_str();
        for (prefix, kind, service, resource) in DESCRIPTIONS {
            let Some(rest) = text.strip_prefix(prefix) else { continue };
            let rest = rest.trim();
            let name = first_word(rest);
            if !service.is_empty() && name.is_empty() {
                continue;
            }
            return Some(match *kind {
                LOAD_BALANCER => Self::load_balancer(name),
                "lambda" => Self::lambda(rest),
                _ if service.is_empty() => Self { kind, ..Self::default() },
                _ => Self {
                    kind,
                    resource: Some((service, format!("{resource}{name}"))),
                    // The resource part of an ARN: `cluster/NAME/UUID`.
                    name: Some(name.split('/').nth(1).unwrap_or(name).to_owned()),
                    group: None,
                },
            });
        }
        if let Some((_, rest)) = text.split_once(":attachment/")
            && text.starts_with("arn:")
            && text.contains(":ecs:")
        {
            let service = tag(tags, "aws:ecs:serviceName");
            let name = service.map_or_else(|| format!("ecs-task-{rest}"), str::to_owned);
            return Some(Self {
                kind: "ecs-task",
                resource: None,
                name: Some(name),
                group: own_group(tags),
            });
        }
        None
    }

    /// `app/NAME/ID`, `net/NAME/ID`, `gwy/NAME/ID`, or the NAME of a classic one.
    fn load_balancer(name: &str) -> Self {
        let kind = match name.split_once('/').map(|(kind, _)| kind) {
            Some("app") => "alb",
            Some("net") => "nlb",
            Some("gwy") => "gwlb",
            _ => "clb",
        };
        let short = name.split('/').nth(1).unwrap_or(name);
        Self {
            kind,
            resource: Some(("elasticloadbalancing", format!("loadbalancer/{name}"))),
            name: Some(short.to_owned()),
            group: None,
        }
    }

    /// `FUNCTION-UUID`. AWS shares such an interface between functions with the same subnets and security groups: the name is
    /// that of the one it was made for, so the identity stays the interface's.
    fn lambda(rest: &str) -> Self {
        let name = rest.len().checked_sub(UUID_CHARS + 1).and_then(|at| {
            let (name, uuid) = rest.split_at_checked(at)?;
            let fits = uuid.starts_with('-') && uuid.matches('-').count() == 5;
            (fits && !name.is_empty()).then_some(name)
        });
        let name = name.unwrap_or(rest);
        Self {
            kind: "lambda",
            resource: None,
            name: Some(name.to_owned()),
            group: (!name.is_empty()).then(|| format!("lambda:{name}")),
        }
    }

    fn by_type(interface: &Interface) -> Option<Self> {
        let (_, kind) = TYPES.iter().find(|(of, _)| *of == interface.kind)?;
        Some(Self { kind, ..Self::default() })
    }

    fn by_requester(interface: &Interface) -> Option<Self> {
        let (_, kind) = REQUESTERS.iter().find(|(of, _)| *of == interface.requester)?;
        Some(Self { kind, ..Self::default() })
    }
}

/// Group of clients by the tags that AWS puts on what belongs to one.
fn own_group(tags: &Tags) -> Option<String> {
    let with = |key: &str, kind: &str| tag(tags, key).map(|name| format!("{kind}:{name}"));
    with("aws:autoscaling:groupName", "asg")
        .or_else(|| {
            let service = tag(tags, "aws:ecs:serviceName")?;
            let cluster = tag(tags, "aws:ecs:clusterName").unwrap_or_default();
            Some(format!("ecs:{cluster}/{service}"))
        })
        .or_else(|| with("eks:nodegroup-name", "eks-nodegroup"))
}

fn first_word(text: &str) -> &str {
    text.split([' ', '(', ',']).next().unwrap_or(text)
}

fn partition(region: &str) -> &'static str {
    match region.split_once('-').map(|(first, _)| first) {
        Some("cn") => "aws-cn",
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

const INSTANCE: &str = "ec2-instance";
const LOAD_BALANCER: &str = "load-balancer";
const UUID_CHARS: usize = 36;

/// Beginning of a description, what it is, service of the ARN (none: the interface's own), resource before the name.
const DESCRIPTIONS: &[(&str, &str, &str, &str)] = &[
    ("ELB ", LOAD_BALANCER, "elasticloadbalancing", ""),
    ("RDSNetworkInterface", "rds", "", ""),
    ("ElastiCache ", "elasticache", "elasticache", "cluster:"),
    ("ElastiCache+", "elasticache", "elasticache", "cluster:"),
    ("RedshiftNetworkInterface", "redshift", "", ""),
    ("DMSNetworkInterface", "dms", "", ""),
    ("DAX ", "dax", "dax", "cache/"),
    ("ES ", "opensearch", "es", "domain/"),
    ("EFS mount target for ", "efs", "elasticfilesystem", "file-system/"),
    ("AWS Lambda VPC ENI-", "lambda", "", ""),
    ("Amazon MSK network interface for cluster ", "msk", "kafka", ""),
    ("VPC Endpoint Interface ", "vpc-endpoint", "ec2", "vpc-endpoint/"),
    ("Interface for NAT Gateway ", "nat-gateway", "ec2", "natgateway/"),
    (
        "Network Interface for Transit Gateway Attachment ",
        "transit-gateway",
        "ec2",
        "transit-gateway-attachment/",
    ),
    ("Amazon EKS ", "eks-control-plane", "eks", "cluster/"),
    ("AWS created network interface for directory ", "directory-service", "ds", "directory/"),
    ("AWS ElasticMapReduce", "emr", "", ""),
    ("CloudHsm ENI", "cloudhsm", "", ""),
];

/// `InterfaceType`, where it tells more than the description.
const TYPES: &[(&str, &str)] = &[
    ("api_gateway_managed", "api-gateway"),
    ("gateway_load_balancer", "gwlb"),
    ("gateway_load_balancer_endpoint", "vpc-endpoint"),
    ("global_accelerator_managed", "global-accelerator"),
    ("lambda", "lambda"),
    ("load_balancer", "alb"),
    ("nat_gateway", "nat-gateway"),
    ("natGateway", "nat-gateway"),
    ("network_load_balancer", "nlb"),
    ("quicksight", "quicksight"),
    ("transit_gateway", "transit-gateway"),
    ("vpc_endpoint", "vpc-endpoint"),
];

/// Who asked for it, where nothing else tells.
const REQUESTERS: &[(&str, &str)] = &[
    ("amazon-elasticache", "elasticache"),
    ("amazon-elasticsearch", "opensearch"),
    ("amazon-elb", LOAD_BALANCER),
    ("amazon-rds", "rds"),
    ("amazon-redshift", "redshift"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(kind: &str, requester: &str, description: &str) -> Interface {
        Interface {
            id: "eni-1".into(),
            account: "123456789012".into(),
            kind: kind.into(),
            requester: requester.into(),
            description: description.into(),
            vpc: "vpc-1".into(),
            subnet: "subnet-1".into(),
            ..Interface::default()
        }
    }

    fn of(interface: &Interface, instance: Option<&Instance>) -> Resource {
        resource(interface, instance, "eu-central-1", &TagKeys::default())
    }

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// Interface type | requester | description | kind | end of the identity | name | end of the group.
    const MARKS: &str = "
        interface|amazon-elb|ELB app/shop/50dc6c49|alb|loadbalancer/app/shop/50dc6c49|shop|loadbalancer/app/shop/50dc6c49
        network_load_balancer|x|ELB net/tcp/1|nlb|loadbalancer/net/tcp/1|tcp|loadbalancer/net/tcp/1
        interface|amazon-elb|ELB old|clb|loadbalancer/old|old|loadbalancer/old
        interface|amazon-rds|RDSNetworkInterface|rds|network-interface/eni-1|eni-1|subnet-1
        interface|amazon-elasticache|ElastiCache s-001|elasticache|cluster:s-001|s-001|cluster:s-001
        interface|amazon-elasticache|ElastiCache+s-002|elasticache|cluster:s-002|s-002|cluster:s-002
        lambda|x|AWS Lambda VPC ENI-bill-run-3b241101-e2bb-4255-8caf-4136c566a962|lambda|network-interface/eni-1|bill-run|lambda:bill-run
        lambda|x||lambda|network-interface/eni-1|eni-1|subnet-1
        vpc_endpoint|amazon-aws|VPC Endpoint Interface vpce-0a1|vpc-endpoint|vpc-endpoint/vpce-0a1|vpce-0a1|vpc-endpoint/vpce-0a1
        interface|x|EFS mount target for fs-1 (fsmt-2)|efs|file-system/fs-1|fs-1|file-system/fs-1
        interface|x|Amazon MSK network interface for cluster arn:aws:kafka:r:1:cluster/events/u-1|msk|cluster/events/u-1|events|cluster/events/u-1
        nat_gateway|x|Interface for NAT Gateway nat-1|nat-gateway|natgateway/nat-1|nat-1|natgateway/nat-1
        transit_gateway|x|Network Interface for Transit Gateway Attachment tgw-attach-1|transit-gateway|transit-gateway-attachment/tgw-attach-1|tgw-attach-1|transit-gateway-attachment/tgw-attach-1
        interface|amazon-redshift|RedshiftNetworkInterface|redshift|network-interface/eni-1|eni-1|subnet-1
        interface|amazon-redshift||redshift|network-interface/eni-1|eni-1|subnet-1
        quicksight|x||quicksight|network-interface/eni-1|eni-1|subnet-1
        interface|x|whatever|network-interface|network-interface/eni-1|eni-1|subnet-1
    ";

    #[test]
    fn what_a_service_writes_on_its_interface_names_the_resource() {
        for line in MARKS.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let [kind, requester, description, word, id, name, group] =
                line.split('|').collect::<Vec<_>>()[..]
            else {
                panic!("{line}")
            };
            let found = of(&interface(kind, requester, description), None);
            assert_eq!((&*found.kind, &*found.name), (word, name), "{line}");
            assert!(found.id.starts_with("arn:aws:") && found.id.ends_with(id), "{}", found.id);
            assert!(found.group.as_deref().unwrap().ends_with(group), "{:?}", found.group);
        }
    }

    #[test]
    fn an_instance_has_its_name_its_group_and_its_owner_by_tags() {
        let instance = Instance {
            id: "i-0abc".into(),
            kind: "m7i.large".into(),
            tags: tags(&[
                ("Name", "web-1"),
                ("aws:autoscaling:groupName", "web"),
                ("Team", "payments"),
                ("Environment", "prod"),
                ("secret", "x"),
            ]),
        };
        let of_it = Interface { instance: Some("i-0abc".into()), ..interface("interface", "", "") };
        let found = of(&of_it, Some(&instance));
        assert_eq!(&*found.id, "arn:aws:ec2:eu-central-1:123456789012:instance/i-0abc");
        assert_eq!((&*found.name, found.group.as_deref()), ("web-1", Some("asg:web")));
        assert_eq!(found.owner.as_deref(), Some("payments"));
        let names: Vec<&str> = found.names().collect();
        assert!(
            names.contains(&"Environment=prod") && !names.join(" ").contains("secret"),
            "{names:?}"
        );
        let alone = of(&of_it, None);
        assert_eq!((&*alone.name, alone.group.as_deref()), ("i-0abc", Some("subnet-1")));
    }

    #[test]
    fn a_task_of_ecs_belongs_to_its_service() {
        let task = Interface {
            tags: tags(&[("aws:ecs:serviceName", "api"), ("aws:ecs:clusterName", "prod")]),
            ..interface("interface", "x", "arn:aws:ecs:eu-central-1:1:attachment/3b241101")
        };
        let found = of(&task, None);
        assert_eq!(
            (&*found.kind, &*found.name, found.group.as_deref()),
            ("ecs-task", "api", Some("ecs:prod/api"))
        );
    }

    #[test]
    fn names_break_no_line() {
        let tagged = Interface {
            tags: tags(&[("Name", "a\nb\u{202e}c")]),
            ..interface("interface", "", "")
        };
        assert_eq!(&*of(&tagged, None).name, "a b c");
    }

    #[test]
    fn partitions_have_their_own_arns() {
        for (region, expected) in
            [("cn-north-1", "arn:aws-cn:"), ("us-gov-west-1", "arn:aws-us-gov:")]
        {
            let found =
                resource(&interface("interface", "", ""), None, region, &TagKeys::default());
            assert!(found.id.starts_with(expected), "{}", found.id);
        }
    }
}
