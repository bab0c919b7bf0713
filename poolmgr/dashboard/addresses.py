"""Addresses of single things, such as of one checkout: where a link leads, what an address can be."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from urllib.parse import urlencode

from django.urls import NoReverseMatch, register_converter, reverse

from poolmgr.control.inquiry import What


class CheckoutConverter:
    """The name that a process gives to one checkout of its own."""

    regex = r"[0-9]{1,19}\.[0-9]{1,19}"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


class OrderConverter(CheckoutConverter):
    """What may be done to a checkout."""

    regex = f"{What.CANCEL}|{What.END}"


@cache
def register() -> None:
    """Once, whoever includes the addresses first."""
    register_converter(CheckoutConverter, "checkout")
    register_converter(OrderConverter, "order")


def holder_address(uid: str, target: str, checkout: str) -> str:
    """Of a holder's page; "" for one of another version of poolmgr, or whose report was made up."""
    try:
        return reverse("poolmgr:holder", kwargs={"uid": uid, "target": target, "checkout": checkout})
    except NoReverseMatch:
        return ""


def settings_address(target: str, role: str) -> str:
    """Of the page where the settings of a target are edited for a role ("" for any); "" for a name that was made up."""
    try:
        return f"{reverse('poolmgr:settings', kwargs={'target': target})}?{urlencode({'role': role})}"
    except NoReverseMatch:
        return ""


def target_address(target: str) -> str:
    """Of a target's page; "" for a name that no address can have."""
    try:
        return reverse("poolmgr:target", kwargs={"target": target})
    except NoReverseMatch:
        return ""


def history_address(target: str) -> str:
    """Of the page of a target's last hour."""
    return f"{reverse('poolmgr:history')}?{urlencode({'target': target, 'range': '1h'})}"


def past_address(target: str, since: datetime, until: datetime) -> str:
    """Of the page of what a target did between two moments."""
    times = {"from": f"{since:%Y-%m-%dT%H:%M:%S%z}", "to": f"{until:%Y-%m-%dT%H:%M:%S%z}"}
    return f"{reverse('poolmgr:history')}?{urlencode({'target': target, **times})}"


def process_address(uid: str) -> str:
    """Of a process's page; "" for a name that was made up."""
    try:
        return reverse("poolmgr:process", kwargs={"uid": uid})
    except NoReverseMatch:
        return ""
