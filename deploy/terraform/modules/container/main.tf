# The other way to run it: the image on ECS with Fargate, in place of a fleet of instances.

variable "name" {
  type = string
}

variable "region" {
  type = string
}

variable "image" {
  description = "Image with its digest, in a registry that ECS reaches"
  type        = string
}

variable "vpc_id" {
  type = string
}

variable "subnets" {
  type = list(string)
}

variable "listener" {
  type = string
}

variable "balancer_security_group" {
  type = string
}

variable "database_security_group" {
  type = string
}

variable "hosts" {
  type = list(string)
}

variable "priority" {
  type = number
}

variable "environment" {
  type = map(string)
}

variable "secrets" {
  description = "Settings that come from SSM or Secrets Manager: name to ARN (of a secret with :field:: at its end)"
  type        = map(string)
}

variable "policy" {
  description = "What the server may do, as an IAM policy in JSON"
  type        = string
}

variable "secrets_policy" {
  description = "Reading the secrets, as an IAM policy in JSON: it is ECS that fetches them"
  type        = string
}

variable "cpu" {
  type    = number
  default = 1024
}

variable "memory" {
  type    = number
  default = 2048
}

variable "sizes" {
  type    = object({ min = number, desired = number, max = number })
  default = { min = 1, desired = 2, max = 6 }
}

resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_158:encrypted with CloudWatch's own key
  #checkov:skip=CKV_AWS_338:logs hold people's addresses, which are kept a month
  name              = "/hyperdesk/${var.name}"
  retention_in_days = 30
}

resource "aws_ecs_cluster" "this" {
  name = var.name
  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_iam_role" "this" {
  for_each = { task = var.policy, execution = var.secrets_policy }
  name     = "${var.name}-${each.key}"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ecs-tasks.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy" "this" {
  for_each = { task = var.policy, execution = var.secrets_policy }
  name     = "hyperdesk"
  role     = aws_iam_role.this[each.key].id
  policy   = each.value
}

resource "aws_iam_role_policy_attachment" "execution" {
  role       = aws_iam_role.this["execution"].name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

locals {
  container = {
    image                  = var.image
    readonlyRootFilesystem = true
    user                   = "65532:65532"
    environment            = [for name, value in var.environment : { name = name, value = value }]
    secrets                = [for name, arn in var.secrets : { name = name, valueFrom = arn }]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.this.name
        awslogs-region        = var.region
        awslogs-stream-prefix = "hyperdesk"
      }
    }
    linuxParameters = { capabilities = { drop = ["ALL"] } }
  }
}

resource "aws_ecs_task_definition" "this" {
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory
  task_role_arn            = aws_iam_role.this["task"].arn
  execution_role_arn       = aws_iam_role.this["execution"].arn
  runtime_platform {
    cpu_architecture        = "ARM64"
    operating_system_family = "LINUX"
  }
  # The schema first: the server waits until that container has ended well.
  container_definitions = jsonencode([
    merge(local.container, { name = "migrate", command = ["migrate"], essential = false }),
    merge(local.container, {
      name         = "server"
      command      = ["serve"]
      essential    = true
      dependsOn    = [{ containerName = "migrate", condition = "SUCCESS" }]
      portMappings = [{ containerPort = 3000 }, { containerPort = 9464 }]
      stopTimeout  = 20
      ulimits      = [{ name = "nofile", softLimit = 1048576, hardLimit = 1048576 }]
    }),
  ])
}

module "service" {
  source                  = "../service"
  name                    = var.name
  what                    = "tasks"
  target_type             = "ip"
  vpc_id                  = var.vpc_id
  listener                = var.listener
  balancer_security_group = var.balancer_security_group
  database_security_group = var.database_security_group
  hosts                   = var.hosts
  priority                = var.priority
}

resource "aws_ecs_service" "this" {
  name                               = var.name
  cluster                            = aws_ecs_cluster.this.id
  task_definition                    = aws_ecs_task_definition.this.arn
  desired_count                      = var.sizes.desired
  launch_type                        = "FARGATE"
  platform_version                   = "LATEST"
  health_check_grace_period_seconds  = 120
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }
  network_configuration {
    subnets         = var.subnets
    security_groups = [module.service.security_group]
  }
  load_balancer {
    target_group_arn = module.service.target_group_arn
    container_name   = "server"
    container_port   = 3000
  }
  lifecycle {
    ignore_changes = [desired_count]
  }
}

resource "aws_appautoscaling_target" "this" {
  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${aws_ecs_cluster.this.name}/${aws_ecs_service.this.name}"
  min_capacity       = var.sizes.min
  max_capacity       = var.sizes.max
}

resource "aws_appautoscaling_policy" "this" {
  name               = "${var.name}-cpu"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.this.service_namespace
  scalable_dimension = aws_appautoscaling_target.this.scalable_dimension
  resource_id        = aws_appautoscaling_target.this.resource_id
  target_tracking_scaling_policy_configuration {
    target_value = 50
    predefined_metric_specification {
      predefined_metric_type = "ECSServiceAverageCPUUtilization"
    }
  }
}

output "target_group_arn_suffix" {
  value = module.service.target_group_arn_suffix
}

output "security_group" {
  value = module.service.security_group
}
