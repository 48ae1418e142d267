"""Alarms as CloudWatch evaluates them, over the data that an emulator holds.

ministack's own evaluation knows neither dimensions nor `TreatMissingData`. Here: the alarm's periods up to now, missing
ones taken as the alarm says, `DatapointsToAlarm` of `EvaluationPeriods`.
"""

import datetime
import math
import operator
import time

COMPARE = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


def state(cloudwatch, alarm, now=None):
    """OK or ALARM, at a time (default: now)."""
    period, periods = alarm["Period"], alarm["EvaluationPeriods"]
    end = math.ceil((now or time.time()) / period) * period
    start = end - period * periods
    stamp = lambda seconds: datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    points = cloudwatch.get_metric_statistics(
        Namespace=alarm["Namespace"], MetricName=alarm["MetricName"], Dimensions=alarm.get("Dimensions", []),
        StartTime=stamp(start), EndTime=stamp(end), Period=period, Statistics=[alarm["Statistic"]])["Datapoints"]
    values = {int(point["Timestamp"].timestamp()): point[alarm["Statistic"]] for point in points}
    breaching = 0
    for at in range(start, end, period):
        value = values.get(at)
        if value is None:
            breaching += alarm["TreatMissingData"] == "breaching"
        else:
            breaching += COMPARE[alarm["ComparisonOperator"]](value, alarm["Threshold"])
    return "ALARM" if breaching >= alarm.get("DatapointsToAlarm", periods) else "OK"


def states(cloudwatch, prefix, now=None):
    """States by the alarms' names without the prefix."""
    alarms = cloudwatch.describe_alarms(AlarmNamePrefix=prefix)["MetricAlarms"]
    return {one["AlarmName"][len(prefix):]: state(cloudwatch, one, now) for one in alarms}
