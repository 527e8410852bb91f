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

resource "aws_security_group" "this" {
  name        = "${var.name}-tasks"
  description = "Tasks of ${var.name}: from the balancer only"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "balancer" {
  for_each                     = toset(["3000", "9464"])
  security_group_id            = aws_security_group.this.id
  description                  = "The balancer, port ${each.key}"
  referenced_security_group_id = var.balancer_security_group
  ip_protocol                  = "tcp"
  from_port                    = each.key
  to_port                      = each.key
}

resource "aws_vpc_security_group_egress_rule" "balancer" {
  for_each                     = toset(["3000", "9464"])
  security_group_id            = var.balancer_security_group
  description                  = "Tasks of ${var.name}, port ${each.key}"
  referenced_security_group_id = aws_security_group.this.id
  ip_protocol                  = "tcp"
  from_port                    = each.key
  to_port                      = each.key
}

resource "aws_vpc_security_group_egress_rule" "https" {
  security_group_id = aws_security_group.this.id
  description       = "The registry, S3, SSM, Secrets Manager, CloudWatch"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "database" {
  security_group_id            = aws_security_group.this.id
  description                  = "The database"
  referenced_security_group_id = var.database_security_group
  ip_protocol                  = "tcp"
  from_port                    = 3306
  to_port                      = 3306
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  security_group_id            = var.database_security_group
  description                  = "Tasks of ${var.name}"
  referenced_security_group_id = aws_security_group.this.id
  ip_protocol                  = "tcp"
  from_port                    = 3306
  to_port                      = 3306
}

resource "aws_lb_target_group" "this" {
  #checkov:skip=CKV_AWS_378:TLS ends at the balancer; behind it is one private network
  name                          = var.name
  vpc_id                        = var.vpc_id
  port                          = 3000
  protocol                      = "HTTP"
  target_type                   = "ip"
  deregistration_delay          = 30
  slow_start                    = 30
  load_balancing_algorithm_type = "least_outstanding_requests"
  health_check {
    path                = "/ready"
    port                = "9464"
    matcher             = "200"
    interval            = 5
    timeout             = 2
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener_rule" "this" {
  listener_arn = var.listener
  priority     = var.priority
  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this.arn
  }
  condition {
    host_header {
      values = var.hosts
    }
  }
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
    security_groups = [aws_security_group.this.id]
  }
  load_balancer {
    target_group_arn = aws_lb_target_group.this.arn
    container_name   = "server"
    container_port   = 3000
  }
  lifecycle {
    ignore_changes = [desired_count]
  }
  depends_on = [aws_lb_listener_rule.this]
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
  value = aws_lb_target_group.this.arn_suffix
}

output "security_group" {
  value = aws_security_group.this.id
}
