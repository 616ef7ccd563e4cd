"""How much of a caller's deadline the service gets."""

import pytest

from replicator.api.interceptors.deadline import REPLY_MARGIN_S_MAX, service_budget_s
from replicator.model.limits import CALL_TIMEOUT_S_DEFAULT, CALL_TIMEOUT_S_MAX


def test_a_call_without_a_deadline_gets_the_default() -> None:
    assert service_budget_s(None) == CALL_TIMEOUT_S_DEFAULT


def test_a_deadline_beyond_the_limit_is_cut() -> None:
    assert service_budget_s(1e9) == CALL_TIMEOUT_S_MAX - REPLY_MARGIN_S_MAX


@pytest.mark.parametrize("remaining_s", [0.001, 0.1, 1.0, 5.0])
def test_the_service_gets_less_than_the_caller_has_so_that_its_error_arrives(remaining_s: float) -> None:
    assert 0.0 < service_budget_s(remaining_s) < remaining_s
    assert remaining_s - service_budget_s(remaining_s) <= REPLY_MARGIN_S_MAX


@pytest.mark.parametrize("remaining_s", [0.0, -1.0])
def test_a_call_that_arrives_late_gets_nothing(remaining_s: float) -> None:
    assert service_budget_s(remaining_s) == 0.0
