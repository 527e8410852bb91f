"""Checks what deploy/eb puts into Beanstalk's hands.

    python eb.py options            the option names and values of .ebextensions and of the saved configurations
    python eb.py template           prints the resources of .ebextensions as one CloudFormation template
    python eb.py layout BUNDLE.zip  the zip's layout and modes
"""

import json
import re
import sys
import zipfile
from pathlib import Path

import yaml

EB = Path(__file__).parent.parent / "eb"
CONFIG = EB.parent.parent / "src" / "config.rs"
SECTIONS = {"option_settings", "Resources", "files", "container_commands", "commands", "packages", "services"}
# The developer guide: all properties together, names and values.
ENVIRONMENT_BYTES_MAX = 4096
SAVED = ["four-medium", "four-medium-xlarge", "one-large", "one-medium", "smallest"]
# In doc_source/platforms-linux-extend.md: Procfile's lines, and the folders that hooks may be in.
PROCFILE_LINE = re.compile(r"^[A-Za-z0-9_-]+:\s*\S.*$")
HOOK = re.compile(r"^\.platform/(hooks|confighooks)/(prebuild|predeploy|postdeploy)/[^/]+$")
PLACES = re.compile(
    r"^(Procfile|bin/hyperdesk(-aarch64|-x86_64)?|\.ebextensions/[\w-]+\.config"
    r"|\.platform/(hooks|confighooks)/(prebuild|predeploy|postdeploy)/\w+\.sh"
    r"|\.platform/nginx/conf\.d/(elasticbeanstalk/)?\w+\.conf)$"
)
mistakes = []


def must(holds, what):
    if not holds:
        mistakes.append(what)


def table():
    known = {}
    for line in (Path(__file__).parent / "eb-options.tsv").read_text().splitlines():
        if line and not line.startswith("#"):
            namespace, key, values = line.split("\t")
            known[namespace, key] = values
    return known


def fits(value, values):
    if values == "text":
        return value != ""
    bounds = re.fullmatch(r"(\d+)\.\.(\d+)", values)
    if bounds:
        return value.isdigit() and int(bounds[1]) <= int(value) <= int(bounds[2])
    return value in values.split("|")


def settings():
    """Variables that the server knows."""
    return set(re.findall(r'^    ([A-Z][A-Z0-9_]*) = ".*;$', CONFIG.read_text(), re.M))


def check_settings(where, option_settings, known):
    environment = 0
    for namespace, keys in option_settings.items():
        for key, value in keys.items():
            values = known.get((namespace, key)) or known.get((namespace, "*"))
            if values is None:
                must(False, f"{where}: Beanstalk knows no {namespace} {key}")
                continue
            # A bare true or 5 in YAML reaches Beanstalk as something else than was written.
            must(isinstance(value, str), f"{where}: {namespace} {key} must be a string, in quotes")
            must(fits(str(value), values), f"{where}: {namespace} {key} must be {values}, is {value!r}")
            if ":application:environment" in namespace:
                must(key in settings(), f"{where}: the server has no setting {key}")
                environment += len(key) + len(str(value))
    must(environment <= ENVIRONMENT_BYTES_MAX, f"{where}: {environment} bytes of environment")


def extensions():
    for file in sorted((EB / "files" / ".ebextensions").iterdir()):
        must(file.suffix == ".config", f"{file.name}: only *.config is read")
        yield file.name, yaml.safe_load(file.read_text())


def options():
    known, leader_only = table(), []
    for name, content in extensions():
        must(set(content) <= SECTIONS, f"{name}: unknown sections {set(content) - SECTIONS}")
        check_settings(name, content.get("option_settings", {}), known)
        for label, command in content.get("container_commands", {}).items():
            must(set(command) <= {"command", "leader_only", "env", "cwd", "test", "ignoreErrors"}, f"{name}: {label}")
            if "migrate" in command["command"]:
                leader_only.append(command.get("leader_only"))
    must(leader_only == [True], "exactly one migration, on the leader only")
    saved = sorted(EB.glob("saved/*.cfg.yml"))
    must(sorted(file.name.split(".")[0] for file in saved) == SAVED, f"the five set-ups: {SAVED}")
    for file in saved:
        content = yaml.safe_load(file.read_text())
        must(content["AWSConfigurationTemplateVersion"] == "1.1.0.0", f"{file.name}: version")
        check_settings(file.name, content["OptionSettings"], known)
        check_sense(file.name, content["OptionSettings"])


def check_sense(name, option_settings):
    """What no table says: the parts of one set-up fit each other."""
    of = lambda namespace, key: option_settings[namespace][key]
    arm = of("aws:ec2:instances", "InstanceTypes").startswith("m7g.")
    must(arm == (of("aws:ec2:instances", "SupportedArchitectures") == "arm64"), f"{name}: architecture")
    sizes = [int(of("aws:autoscaling:asg", key)) for key in ("MinSize", "MaxSize")]
    must(sizes[0] <= sizes[1] <= 6, f"{name}: sizes {sizes}")
    alone = of("aws:elasticbeanstalk:environment", "EnvironmentType") == "SingleInstance"
    hops = of("aws:elasticbeanstalk:application:environment", "TRUSTED_PROXY_HOPS")
    must(hops == ("1" if alone else "2"), f"{name}: nginx, and a balancer where there is one")
    # The README: instances x pool x 2 + 10 <= 0.8 x max_connections, which RDS sets to bytes / 12,582,880.
    gib = {"db.t3.micro": 1, "db.m5.large": 8, "db.m5.xlarge": 16}[of("aws:rds:dbinstance", "DBInstanceClass")]
    pool = int(of("aws:elasticbeanstalk:application:environment", "DB_POOL_SIZE"))
    must(sizes[1] * pool * 2 + 10 <= 0.8 * gib * 2**30 / 12_582_880, f"{name}: the pools are too large for its database")
    # 64 statements a connection; Beanstalk's own database has no parameter group to raise the limit in.
    must(sizes[1] * pool * 2 * 64 <= 0.8 * 16_382, f"{name}: the pools prepare too many statements")


def template():
    """Beanstalk merges these into its own template, whose resources stand here as what they are."""
    group = {"MinSize": "1", "MaxSize": "6", "AvailabilityZones": {"Fn::GetAZs": ""}, "LaunchConfigurationName": "x"}
    resources = {"AWSEBAutoScalingGroup": {"Type": "AWS::AutoScaling::AutoScalingGroup", "Properties": group}}
    for _, content in extensions():
        resources.update(content.get("Resources", {}))
    for resource in ("AWSEBV2LoadBalancer", "AWSEBV2LoadBalancerTargetGroup", "HyperdeskCpuTracking"):
        must(resource in resources, f"no {resource}")
    resources["AWSEBV2LoadBalancer"]["Properties"]["Subnets"] = ["subnet-aaaaaaaa", "subnet-bbbbbbbb"]
    print(json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}, indent=2))


def layout(bundle):
    with zipfile.ZipFile(bundle) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        must(archive.testzip() is None, "a broken entry")
        procfile = archive.read("Procfile").decode().splitlines() if "Procfile" in entries else []
        must(procfile and procfile[0].startswith("web:"), "Procfile: web comes first")
        must(all(PROCFILE_LINE.match(line) for line in procfile), "Procfile's lines")
        if procfile:
            program = procfile[0].split(":", 1)[1].split()[0]
            must(program in entries, f"Procfile: there is no {program}")
        binaries = [name for name in entries if name.startswith("bin/hyperdesk-")]
        must(binaries, "no binary")
        for name, entry in entries.items():
            must(PLACES.match(name), f"{name} is nothing that Beanstalk takes")
            executable = entry.external_attr >> 16 & 0o111
            wants = name.startswith("bin/") or HOOK.match(name)
            must(bool(executable) == bool(wants), f"{name}: mode {entry.external_attr >> 16:o}")
            if HOOK.match(name):
                must(archive.read(name).startswith(b"#!"), f"{name}: begins with #!")
        for name in binaries:
            check_static(name, archive.read(name))
    must(Path(bundle).stat().st_size < 512 << 20, "Beanstalk takes 512 MiB at most")


def check_static(name, elf):
    """For its machine, and with no interpreter: it needs no C library of the platform's."""
    must(elf[:5] == b"\x7fELF\x02", f"{name}: 64-bit ELF")
    machine = int.from_bytes(elf[18:20], "little")
    must(machine == {"aarch64": 183, "x86_64": 62}[name.split("-", 1)[1]], f"{name}: machine {machine}")
    start, size, count = (int.from_bytes(elf[a:b], "little") for a, b in ((32, 40), (54, 56), (56, 58)))
    kinds = [int.from_bytes(elf[start + n * size :][:4], "little") for n in range(count)]
    must(3 not in kinds, f"{name}: is linked dynamically")


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    {"options": options, "template": template, "layout": layout}[command](*arguments)
    if mistakes:
        sys.exit("\n".join(mistakes))
    if command != "template":
        print(f"eb {command}: right")
