"""What an operator may do about a store's fault, by its code: S3's own, the system's, or ours where there is none.

S3's codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

_CREDENTIALS = "check STORE__S3_ACCESS_KEY and STORE__S3_SECRET_KEY, the AWS_* variables, or the machine's role"
_RENEW = "the session's credentials are over: renew them, and let the role or the secret store do so by itself"
_REGION = "set STORE__S3_ENDPOINT and STORE__S3_REGION to those of the bucket's region"
_WAIT = "the S3 server is overloaded or unwell: look at it; nothing is to be done here"
_NOT_S3 = (
    "what answers at STORE__S3_ENDPOINT is no S3 server: a load balancer without a backend, a proxy, a web page, "
    "another port, or HTTP where HTTPS is meant (STORE__S3_SECURE)"
)
_REACH = "is the S3 server up, STORE__S3_ENDPOINT right, and the way to it open (network policy, firewall)?"
_TLS = "is the certificate of the endpoint's name and still valid? SSL_CERT_FILE names an authority of your own"

ADVICE = {
    "AccessDenied": "let the credentials get objects and list the bucket, and enroll's put and delete objects; without "
    "the right to list, S3 says denied where it means absent",
    "AllAccessDisabled": "the bucket's or account's access is switched off: ask the S3 server's operator",
    "InvalidAccessKeyId": f"the S3 server does not know the access key: {_CREDENTIALS}",
    "SignatureDoesNotMatch": f"the secret key is not the access key's, or a proxy changes requests: {_CREDENTIALS}",
    "RequestTimeTooSkewed": "this machine's clock and the S3 server's differ by more than 15 minutes: set them by NTP",
    "ExpiredToken": _RENEW,
    "InvalidToken": _RENEW,
    "TokenRefreshRequired": _RENEW,
    "PermanentRedirect": _REGION,
    "TemporaryRedirect": _REGION,
    "Redirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "NoSuchBucket": "make the bucket, or correct its name in STORE__URL",
    "InvalidBucketName": "correct the bucket's name in STORE__URL",
    "InvalidObjectState": "the object was moved to an archive: keep masks out of the bucket's lifecycle rules",
    "QuotaExceeded": "raise the bucket's quota, or remove old versions of objects",
    "XMinioStorageFull": "the S3 server's disks are full",
    "InsufficientCapacity": "the S3 server's disks are full",
    "SlowDown": _WAIT,
    "ServiceUnavailable": _WAIT,
    "InternalError": _WAIT,
    "NotS3": _NOT_S3,
    "WrongObject": "the S3 server, or a cache before it, answers for another object than was asked for",
    "NoCredentials": f"there are no credentials: {_CREDENTIALS}",
    "NameNotResolved": "the endpoint's name is not known: check STORE__S3_ENDPOINT and the resolver (DNS)",
    "NotReachable": _REACH,
    "ConnectTimeout": _REACH,
    "Timeout": "the S3 server takes calls and does not answer in time: look at it, and at the network between",
    "ConnectionBroken": "the S3 server, or what is between, closed the connection: is it HTTPS (STORE__S3_SECURE)?",
    "TlsFailed": _TLS,
    "VersionsNotRemoved": "let enroll's credentials list versions (s3:ListBucketVersions) and delete them "
    "(s3:DeleteObjectVersion), then delete the user again",
    "NoConditions": "keys cannot be rotated there: the S3 server takes no If-Match, or the file system no locks",
    "FolderMissing": "is the volume mounted? A new store's folder is made by the enrollment service when it starts",
    "ENOSPC": "the disk is full",
    "EDQUOT": "the disk quota is used up",
    "EROFS": "the file system is mounted read-only",
    "EACCES": "let the service's user read and write the folder",
    "EPERM": "let the service's user read and write the folder",
    "ENOTDIR": "the store's folder, or one above it, is a file",
    "EIO": "the disk or the network file system fails",
    "ESTALE": "the network file system was exported anew: mount it again",
}
"""Code -> one sentence."""


def advice_for(fault: str) -> str:
    """What to do, or ""."""
    return ADVICE.get(fault, "")
