"""What operators do while everything else happens: one method a change."""

from chaos.simulation.faults.striking import Striking
from replicator.model.members import MemberRole


class MemberFaults(Striking):
    """Does nothing where the membership cannot change (stock)."""

    def hire_voter(self) -> None:
        if self.operator is not None:
            self.operator.add_node(MemberRole.VOTER)

    def hire_observer(self) -> None:
        if self.operator is not None:
            self.operator.add_node(MemberRole.OBSERVER)

    def remove_member(self) -> None:
        if self.operator is not None:
            self.operator.remove()

    def change_role(self) -> None:
        if self.operator is not None:
            self.operator.change_role()

    def lose_disk(self) -> None:
        if self.operator is not None:
            self.operator.lose_disk()
