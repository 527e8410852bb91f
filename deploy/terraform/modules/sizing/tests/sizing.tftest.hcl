# The four set-ups of the README, and the limits.

run "one_medium" {
  command = plan
  variables {
    instance_type  = "m7g.medium"
    instances_max  = 6
    database_class = "db.m5.large"
  }
  assert {
    condition     = output.architecture == "arm64" && output.machine == "aarch64"
    error_message = "Graviton is arm64"
  }
  assert {
    condition     = output.db_pool_size == 10
    error_message = "ten fit well"
  }
  assert {
    condition     = output.max_prepared_stmt_count == 16382
    error_message = "6 x 10 x 2 x 64 / 0.8 = 9,600 is below the default"
  }
}

run "smallest" {
  command = plan
  variables {
    instance_type  = "t3.micro"
    instances_max  = 2
    database_class = "db.t3.micro"
  }
  assert {
    condition     = output.architecture == "x86_64"
    error_message = "t3 is Intel"
  }
  assert {
    condition     = output.max_connections == 85 && output.db_pool_size == 10
    error_message = "85 connections: (0.8 x 85 - 10) / 4 = 14, and 10 at most"
  }
}

run "many_on_a_small_one" {
  command = plan
  variables {
    instance_type  = "t4g.small"
    instances_max  = 10
    database_class = "db.t4g.micro"
  }
  assert {
    condition     = output.db_pool_size == 2
    error_message = "(0.8 x 85 - 10) / 20 = 2.9"
  }
}

run "large_pools_want_more_statements" {
  command = plan
  variables {
    instance_type  = "m7g.medium"
    instances_max  = 6
    database_class = "db.m5.xlarge"
    db_pool_size   = 20
  }
  assert {
    condition     = output.max_prepared_stmt_count == 32768
    error_message = "6 x 20 x 2 x 64 / 0.8 = 19,200"
  }
}

run "a_pool_that_does_not_fit_is_refused" {
  command = plan
  variables {
    instance_type  = "m7g.medium"
    instances_max  = 6
    database_class = "db.t3.micro"
    db_pool_size   = 10
  }
  expect_failures = [output.db_pool_size]
}

run "a_class_that_nobody_knows_is_refused" {
  command = plan
  variables {
    instance_type  = "m7g.medium"
    instances_max  = 6
    database_class = "db.m5.metal"
  }
  expect_failures = [var.database_class]
}
