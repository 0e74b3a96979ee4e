"""Users, their roles, passwords and tokens. Without any user everybody on this machine is the local administrator.

Passwords are kept as argon2id hashes (RFC 9106), tokens, which are 256 random bits, as their sha256.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

import sqlalchemy as sa

from emendo.records import UserError
from emendo.schema import answers, conversations, tokens, users

ROLES = ("asker", "reviewer", "admin")  # each may do what the ones before it may
LEAST_PASSWORD = 8  # characters
SESSION = timedelta(days=7)
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")


@dataclass(frozen=True)
class User:
    name: str  # "" is the local administrator of a machine without users
    role: str

    def may(self, role: str) -> bool:
        """Whether this user has the role or one above it."""
        return ROLES.index(self.role) >= ROLES.index(role)


LOCAL = User("", "admin")


class Accounts:
    """The users in one database. Safe to use from several threads."""

    def __init__(self, engine: sa.Engine):
        self._engine = engine

    def exist(self) -> bool:
        """Whether anybody must sign in."""
        with self._engine.connect() as db:
            return db.execute(sa.select(users.c.name).limit(1)).first() is not None

    def all(self) -> list[User]:
        with self._engine.connect() as db:
            return [User(row.name, row.role) for row in db.execute(sa.select(users).order_by(users.c.name))]

    def add(self, name: str, role: str, password: str) -> None:
        """The first user becomes the owner of the conversations that were made without users."""
        if not _NAME.fullmatch(name):
            raise UserError(f"user name {name!r}: expected 1 to 64 of a-z 0-9 . _ @ -, beginning with a letter or digit")
        if role not in ROLES:
            raise UserError(f"role {role!r}: expected one of {', '.join(ROLES)}")
        first = not self.exist()
        if first and role != "admin":
            raise UserError(f"the first user must be an admin: emendo users add {name} --role admin")
        values = {"name": name, "role": role, "password_hash": _hash(password), "at": _now()}
        try:
            with self._engine.begin() as db:
                db.execute(users.insert().values(values))
                for table in (conversations, answers) if first else ():
                    db.execute(table.update().where(table.c.owner == "").values(owner=name))
        except sa.exc.IntegrityError as error:
            raise UserError(f"there is a user {name!r} already; `emendo users password {name}` changes the password") from error

    def remove(self, name: str) -> None:
        """The user can no longer sign in; conversations and corrections stay. The last admin stays while there are others."""
        found = {user.name: user.role for user in self.all()}
        self._check_known(name)
        if found[name] == "admin" and list(found.values()).count("admin") == 1 and len(found) > 1:
            raise UserError(f"{name} is the last admin; remove the others first, or add another admin")
        self.revoke(name)
        with self._engine.begin() as db:
            db.execute(users.delete().where(users.c.name == name))

    def set_password(self, name: str, password: str) -> None:
        """The new password; whoever is signed in as this user is signed out."""
        self._check_known(name)
        with self._engine.begin() as db:
            db.execute(users.update().where(users.c.name == name).values(password_hash=_hash(password)))
            db.execute(tokens.delete().where(tokens.c.name == name, tokens.c.kind == "session"))

    def check_password(self, name: str, password: str) -> bool:
        """Takes as long for a name that does not exist."""
        import argon2

        with self._engine.connect() as db:
            found = db.execute(sa.select(users.c.password_hash).where(users.c.name == name)).scalar()
        try:
            return argon2.PasswordHasher().verify(found or _nobody(), password) and found is not None
        except argon2.exceptions.VerificationError:
            return False

    def new_token(self, name: str, kind: str = "api") -> str:
        """A token for the user's programs (`api`, until revoked) or browser (`session`, for a week). It is stored hashed."""
        self._check_known(name)
        token = f"emendo_{secrets.token_urlsafe(32)}"
        expires = (datetime.now(UTC) + SESSION).isoformat(timespec="seconds") if kind == "session" else ""
        values = {"token_sha256": _digest(token), "name": name, "kind": kind, "expires": expires, "at": _now()}
        with self._engine.begin() as db:
            db.execute(tokens.delete().where(tokens.c.expires != "", tokens.c.expires < _now()))
            db.execute(tokens.insert().values(values))
        return token

    def user_of(self, token: str, kind: str) -> User | None:
        query = sa.select(users.c.name, users.c.role).join(tokens, tokens.c.name == users.c.name)
        valid = sa.or_(tokens.c.expires == "", tokens.c.expires >= _now())
        query = query.where(tokens.c.token_sha256 == _digest(token), tokens.c.kind == kind, valid)
        with self._engine.connect() as db:
            row = db.execute(query).first()
        return User(row.name, row.role) if row else None

    def revoke(self, name: str) -> int:
        """End all tokens and sessions of the user; how many there were."""
        self._check_known(name)
        with self._engine.begin() as db:
            return db.execute(tokens.delete().where(tokens.c.name == name)).rowcount

    def forget(self, token: str) -> None:
        """End one session."""
        with self._engine.begin() as db:
            db.execute(tokens.delete().where(tokens.c.token_sha256 == _digest(token)))

    def _check_known(self, name: str) -> None:
        known = [user.name for user in self.all()]
        if name not in known:
            raise UserError(f"no user {name!r}; known: {', '.join(known) or 'none, add one with `emendo users add`'}")


def _hash(password: str) -> str:
    import argon2

    if len(password) < LEAST_PASSWORD:
        raise UserError(f"the password has {len(password)} characters; expected at least {LEAST_PASSWORD}")
    try:
        return argon2.PasswordHasher().hash(password)
    except UnicodeEncodeError as error:
        raise UserError("the password is not UTF-8 text; set the terminal to UTF-8") from error


@cache
def _nobody() -> str:
    """A hash that no password has."""
    return _hash(secrets.token_urlsafe(32))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
