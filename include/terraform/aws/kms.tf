# One key for the buckets, the images, the logs and the alerts: taking it away takes everything away.

resource "aws_kms_key" "data" {
  description             = "Data, images and logs of ${local.name}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy = templatefile("${path.module}/policies/key.json.tftpl", {
    account   = local.account
    partition = local.partition
    region    = var.region
  })
}

resource "aws_kms_alias" "data" {
  name          = "alias/${local.name}"
  target_key_id = aws_kms_key.data.key_id
}
