variables {
  environment       = { APP_ENV = "production", FRONTEND_URL = "https://desk.example.com,https://b.example.com" }
  artifact          = "s3://artifacts/hyperdesk-aarch64"
  artifact_sha256   = "0000000000000000000000000000000000000000000000000000000000000000"
  region            = "eu-central-1"
  secret_parameters = { SECRET_KEY_BASE = "/hyperdesk/secret_key_base" }
  database_secret   = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:db"
}

run "holds_what_the_server_needs" {
  command = plan
  assert {
    condition     = startswith(output.user_data, "#!/bin/bash\n")
    error_message = "cloud-init runs what begins with #!"
  }
  assert {
    condition     = strcontains(output.user_data, "\nFRONTEND_URL='https://desk.example.com,https://b.example.com'\n")
    error_message = "the environment's lines"
  }
  assert {
    condition     = strcontains(output.user_data, "echo \"SECRET_KEY_BASE=$(parameter '/hyperdesk/secret_key_base' | quoted)\"")
    error_message = "secrets are fetched by name"
  }
  assert {
    # EC2's limit, before base64.
    condition     = length(output.user_data) < 16384
    error_message = "user data is 16 KB at most"
  }
}

run "no_secret_in_user_data" {
  command = plan
  variables {
    environment = { SECRET_KEY_BASE = "x" }
  }
  expect_failures = [var.environment]
}

run "no_line_break_in_a_value" {
  command = plan
  variables {
    environment = { FRONTEND_URL = "https://a\nRDS_PASSWORD=x" }
  }
  expect_failures = [var.environment]
}

run "a_binary_with_a_hash" {
  command = plan
  variables {
    artifact_sha256 = "latest"
  }
  expect_failures = [var.artifact_sha256]
}
