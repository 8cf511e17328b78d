"""Users of the tests, of the default tenant."""

from facecloak.users import User

ALICE, BOB, NOBODY = User("", "alice"), User("", "bob"), User("", "nobody")
