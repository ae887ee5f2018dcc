"""The check that no recording with a withdrawn consent is left in the lake."""

from datetime import UTC, datetime

import dagster as dg

from habla_ml.defs.resources import StoreResource
from habla_ml.settings import Settings


def build_consent_check(settings: Settings) -> dg.AssetChecksDefinition:
    """Return the check; it passes without a register and a service."""

    @dg.asset_check(
        asset="splits",
        name="no_withdrawn_consent",
        blocking=True,
        description=(
            "No contributor who withdrew consent is in the lake; training waits for the erasure. If it fails, "
            "run the command that it shows."
        ),
    )
    def no_withdrawn_consent(lake: StoreResource) -> dg.AssetCheckResult:
        from habla_ml.consent.admission import load_consents
        from habla_ml.erasure.contributor_data import find_withdrawn_days

        consents = load_consents(settings, datetime.now(UTC))
        found = find_withdrawn_days(lake.lake(), consents.register, consents.today)
        commands = [f"`{settings.command('erase', '--contributor', name)}`" for name in found]
        return dg.AssetCheckResult(
            passed=not found,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"still in the lake: run {', '.join(commands)}"
            if found
            else "no contributor who withdrew is in the lake",
            metadata={"contributors": len(found), "days": len({day for days in found.values() for day in days})},
        )

    return no_withdrawn_consent
