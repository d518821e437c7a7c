"""Objects in an S3 bucket: the client, the contents, what a server must be able to do, and its refusals in words."""

from llm.storage.s3.objects import S3Objects

__all__ = ["S3Objects"]
