"""Errors of an S3 endpoint or its network, as `LakeError` with the next step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from habla_ml.errors import LakeError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

_PERMISSION_REMEDY: Final = (
    "the credentials need s3:GetObject, s3:PutObject and s3:ListBucket there (s3:DeleteObject to erase)"
)
_REDIRECT_REMEDY: Final = (
    "the address redirects; set endpoint_url to the one that answers, often with https://, and region to the bucket's"
)
_CREDENTIALS_REMEDY: Final = "get new credentials of this endpoint, then run the stage again"
_ADDRESS_REMEDY: Final = (
    "set endpoint_url to the address of the S3 API; a console or another web page can be at the next port"
)
_REMEDIES: Final = {
    "NoSuchBucket": "create the bucket, or name another one in the settings",
    "AccessDenied": _PERMISSION_REMEDY,
    "403": _PERMISSION_REMEDY,
    "InvalidAccessKeyId": "set AWS_PROFILE or AWS_ACCESS_KEY_ID to credentials of this endpoint",
    "SignatureDoesNotMatch": "set AWS_SECRET_ACCESS_KEY to the secret of this access key",
    "BadDigest": "the transfer broke; run the stage again",
    "NotImplemented": "use AWS S3 or another endpoint with conditional writes, or a folder",
    "InvalidObjectState": (
        "the object is in an archive such as Glacier; restore it there, and remove the lifecycle rule that moves objects"
    ),
    "RequestTimeTooSkewed": "set the clock of this machine, for example with NTP",
    "ExpiredToken": _CREDENTIALS_REMEDY,
    "ExpiredTokenException": _CREDENTIALS_REMEDY,
    "TokenRefreshRequired": _CREDENTIALS_REMEDY,
    "PermanentRedirect": _REDIRECT_REMEDY,
    "TemporaryRedirect": _REDIRECT_REMEDY,
    "301": _REDIRECT_REMEDY,
    "302": _REDIRECT_REMEDY,
    "307": _REDIRECT_REMEDY,
    "308": _REDIRECT_REMEDY,
    "405": _ADDRESS_REMEDY,
    "500": f"read the endpoint's log; if it has no such request, {_ADDRESS_REMEDY}",
}


@contextmanager
def translate_s3_errors(failure: str) -> Iterator[None]:
    """Turn an error of the endpoint or the network into a `LakeError` that begins with `failure`."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        detail = error.response.get("Error", {}).get("Message", "")
        remedy = _REMEDIES.get(get_error_code(error), "read the endpoint's log, then run the stage again")
        raise LakeError(f"{failure}: {get_error_code(error)} {detail}; {remedy}") from error
    except RecursionError:
        # botocore looks for the bucket's region at a redirect, is redirected again, and so on (boto3's issue 2148).
        raise LakeError(f"{failure}: {_REDIRECT_REMEDY}") from None
    except (KeyError, ResponseParserError) as error:
        fault = f"the answer lacks {error}" if isinstance(error, KeyError) else "the answer is no XML"
        raise LakeError(f"{failure}: {fault}, so it is not one of an S3 store; {_ADDRESS_REMEDY}") from error
    except (BotoCoreError, Boto3Error) as error:
        raise LakeError(
            f"{failure}: {error}; check endpoint_url, region, credentials (AWS_PROFILE or AWS_ACCESS_KEY_ID) "
            "and the network, then run the stage again"
        ) from error


def get_error_code(error: ClientError) -> str:
    """Return the endpoint's code of an error, or its HTTP status where the answer has no body."""
    return error.response.get("Error", {}).get("Code", "")
