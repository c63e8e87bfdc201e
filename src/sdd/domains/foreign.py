"""What to say of a picture that is not of a domain, or whose framing or background is none of its own."""

from __future__ import annotations

from sdd.domains.domain import Domain

UNUSUAL = (
    "an unusual framing or background, or not of that domain, so that the edit may not fit; come closer with "
    "--refine 100, or use an editor trained on pictures of this kind (`sdd domain add`)"
)


def domain_warning(quality: float, domain: Domain | None, out_of_domain_db: float = 11.0) -> str | None:
    """A sentence for a picture that comes back at `quality` dB, far below what the domain's own do; None if it is fine.

    Args:
        out_of_domain_db: how far below; the worst of 512 held-out avatars lies 10.7 dB below their mean.
    """
    expected = None if domain is None else domain.expected_psnr
    if domain is None or expected is None or quality > expected - out_of_domain_db:
        return None
    return (
        f"this picture inverts at {quality:.1f} dB where those of domain {domain.name!r} reach {expected:.0f} dB: "
        f"{UNUSUAL}"
    )
