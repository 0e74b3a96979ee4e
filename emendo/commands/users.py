"""users: who may sign in, with which role, and the tokens of their programs."""

from __future__ import annotations

import argparse
import getpass
import sys
import warnings

from emendo.commands import Commands, add, open_store
from emendo.records import UserError
from emendo.terminal import note, say, say_json, table


def add_commands(commands: Commands, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("users", help="who may sign in, and the tokens of their programs", parents=[common])
    kinds = parser.add_subparsers(title="kinds", metavar="KIND", required=True)
    add(kinds, common, "list", "all users with their roles", list_users)
    user = _named(kinds, common, "add", "a user; with the first one (an admin) everybody must sign in", add_user)
    user.add_argument("--role", choices=("asker", "reviewer", "admin"), default="asker", help="default: asker")
    user.add_argument("--password-stdin", action="store_true", help="read the password from standard input instead of asking")
    user = _named(kinds, common, "password", "another password; signs the user's browsers out", set_password)
    user.add_argument("--password-stdin", action="store_true", help="read the password from standard input instead of asking")
    _named(kinds, common, "remove", "take a user out; what the user made stays", remove)
    _named(kinds, common, "token", "a token for the user's programs, shown this once", token)
    _named(kinds, common, "revoke", "end all tokens and sessions of a user", revoke)


def _named(kinds: Commands, common: argparse.ArgumentParser, name: str, summary: str, run):  # type: ignore[no-untyped-def]
    parser = add(kinds, common, name, summary, run)
    parser.add_argument("name", metavar="NAME", help="of the user")
    return parser


def list_users(args: argparse.Namespace) -> int:
    found = accounts(args).all()
    if args.json:
        say_json(found)
    else:
        rows = [(user.name, user.role) for user in found]
        table("", ("name", "role"), rows, "no users: only this computer is served, without a sign-in")
    return 0


def add_user(args: argparse.Namespace) -> int:
    accounts(args).add(args.name, args.role, _password(args))
    note(f"{args.name} can sign in as {args.role}")
    return 0


def set_password(args: argparse.Namespace) -> int:
    accounts(args).set_password(args.name, _password(args))
    note(f"{args.name} has a new password")
    return 0


def remove(args: argparse.Namespace) -> int:
    accounts(args).remove(args.name)
    note(f"{args.name} can no longer sign in")
    return 0


def token(args: argparse.Namespace) -> int:
    made = accounts(args).new_token(args.name)
    say_json({"token": made}) if args.json else say(made)
    note("Keep it now: it is stored hashed and cannot be shown again.")
    return 0


def revoke(args: argparse.Namespace) -> int:
    note(f"{accounts(args).revoke(args.name)} tokens and sessions of {args.name} ended")
    return 0


def accounts(args: argparse.Namespace):  # type: ignore[no-untyped-def]
    from emendo.accounts import Accounts

    return Accounts(open_store(args).engine)


def _password(args: argparse.Namespace) -> str:
    if args.password_stdin:
        return sys.stdin.readline().rstrip("\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)  # where nobody sits: it would be typed in plain sight
            password, again = getpass.getpass("Password: "), getpass.getpass("Again: ")
    except (EOFError, getpass.GetPassWarning) as error:
        raise UserError("no password was given; a script gives one with --password-stdin") from error
    if again != password:
        raise UserError("the two passwords differ; try again")
    return password
