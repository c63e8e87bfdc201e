"""What the fine-tuning methods take from a domain: models by role, a source prompt where the user gives none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdd.methods.models import Models

if TYPE_CHECKING:
    from sdd.domains.domain import Domain
    from sdd.methods.directional import Features

SOURCE = "a person"


def get(role: str, method: str, models: Models | None) -> Any:
    """A model of a role.

    Raises:
        SddError: there is none.
    """
    return (models or Models()).get(role, method)


def identity(domain: Domain) -> Features | None:
    """Features of unit length of the domain's people; None where it tells none apart."""
    if domain.identity is None:
        return None
    from sdd.nets.arcface import identity_features

    net = domain.identity
    return lambda images: identity_features(net, images)
