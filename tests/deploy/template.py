"""CloudFormation templates as Python values: `!Ref X` is `{"Ref": "X"}`."""

import pathlib

import yaml

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "deploy/cloudformation"


class _Loader(yaml.SafeLoader):
    pass


def _short(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, True)
    else:
        value = loader.construct_mapping(node, True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".")
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short)


def load(name):
    return yaml.load((FOLDER / name).read_text(), _Loader)


def of_type(template, kind):
    """Resources of a type, by logical name."""
    return {name: one for name, one in template["Resources"].items() if one["Type"] == kind}
