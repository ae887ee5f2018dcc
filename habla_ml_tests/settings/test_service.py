"""The settings of the service."""

import pytest
from pydantic import ValidationError

from habla_ml.settings.service import ServiceSettings


@pytest.mark.parametrize(
    ("service", "address"),
    [
        (ServiceSettings(), "http://127.0.0.1:8787"),
        (ServiceSettings(port=80, public_url="https://habla.example/a"), "https://habla.example/a"),
        (ServiceSettings(host="0.0.0.0"), "http://127.0.0.1:8787"),  # noqa: S104
        (ServiceSettings(host="::", port=8000), "http://[::1]:8000"),
        (ServiceSettings(host="fd00::7"), "http://[fd00::7]:8787"),
        (ServiceSettings(host="aula.local"), "http://aula.local:8787"),
    ],
)
def test_the_address_of_the_pages_is_the_public_one_or_one_that_works_here(
    service: ServiceSettings, address: str
) -> None:
    assert service.address == address


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "proxy", "*", ""])
def test_a_proxy_that_could_never_be_recognised_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="expected an IP address or a network"):
        ServiceSettings(trusted_proxies=("127.0.0.1", text))


def test_addresses_and_networks_are_trusted() -> None:
    assert len(ServiceSettings(trusted_proxies=("127.0.0.1", "::1", "10.0.0.0/8", "fd00::/8")).trusted_proxies) == 4
