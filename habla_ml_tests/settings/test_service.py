"""The settings of the service."""

import pytest

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
