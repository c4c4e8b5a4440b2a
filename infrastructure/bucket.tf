module "bucket" {
  source = "./bucket"

  name = var.bucket
}
