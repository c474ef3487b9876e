"""What strongSwan is told: the settings of a charon of our own, and the connection, by vici.

The words are those of strongswan.conf(5), swanctl.conf(5) and the README of src/libcharon/plugins/vici.
"""

from __future__ import annotations

from hashlib import sha256
from shlex import join
from typing import TYPE_CHECKING, Final

from autovpn.core.actions import ViciCall
from autovpn.core.routing import TABLES
from autovpn.core.secret import Secret
from autovpn.core.settings import IpsecAuth, IpsecSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from autovpn.core.actions import ViciMessage
    from autovpn.core.driving import Launch

CONFIGURATION: Final = "strongswan.conf"
SOCKET: Final = "charon.vici"

EVENTS: Final = ("child-updown", "ike-updown", "control-log", "list-sa")

PLUGINS: Final = (
    "random nonce openssl aes sha1 sha2 sha3 md4 md5 hmac kdf gcm ccm ctr chapoly curve25519 gmp pem x509 revocation"
    " constraints pubkey pkcs1 pkcs8 fips-prf eap-identity eap-mschapv2 xauth-generic unity"
)
"""What authentication and encryption need, and no more: those of an installation may be many, and each takes time."""

CARRIERS: Final = {True: "kernel-libipsec kernel-netlink", False: "kernel-netlink"}
"""The plugins that move packets in user space, and in the kernel."""

ROUTING_TABLE: Final = TABLES.start - 1
ROUTING_PRIORITY: Final = 32790
"""Where libipsec may put the routes that it insists on: after the table main, which leaves them without an effect.

The rules that lead there are charon's, which takes them away when it ends, unless it is killed.
"""

NO_TABLE: Final = 0
"""What keeps charon from making rules at all (kernel_netlink_net.c)."""

DEAD_PEER_AFTER: Final = 10
"""Seconds of silence before the server is asked whether it still lives."""

NOTIFY_VARIABLE: Final = "AUTOVPN_NOTIFY"
"""Where the notifier looks for its socket: charon hands nothing of its own environment on to an updown script."""

SECRETS: Final = ("IKE", "EAP", "XAUTH")
"""The kinds of secrets that we load, as vici calls them."""

EVERYTHING: Final = ("0.0.0.0/0", "::/0")


def connection_name(launch: Launch) -> str:
    """Return the name of our connection and of its child, also beside connections of somebody else's."""
    return f"autovpn-{launch.spec.name}"


def interface_id(launch: Launch) -> int:
    """Return what ties this tunnel's device to its policies; 0 would tie it to none (ip-link(8), xfrm)."""
    return int.from_bytes(sha256(launch.nonce.encode()).digest()[:4], "big") or 1


def socket_path(launch: Launch) -> str:
    """Return the vici socket: of a strongSwan that runs already, or of our own."""
    return settings_of(launch).vici or f"{launch.directory}/{SOCKET}"


def settings_of(launch: Launch) -> IpsecSettings:
    """Return the settings of the type."""
    if not isinstance(launch.spec.settings, IpsecSettings):
        raise TypeError(f"tunnel {launch.spec.name} is not of type ipsec")
    return launch.spec.settings


def configuration(launch: Launch, *, in_user_space: bool) -> Secret:
    """Return the strongswan.conf of a charon of our own: free ports, our socket, and nothing of the machine's.

    Routes are looked up as if our tables weren't there, since charon looks for its way to the server in all of them.
    Retransmissions end after 13 seconds; as they are, a dead server would be found out after 165.
    """
    ignored = " ".join(map(str, (*TABLES, ROUTING_TABLE)))
    text = f"""
charon {{
  port = 0
  port_nat_t = 0
  install_virtual_ip = {"yes" if in_user_space else "no"}
  install_routes = {_yes(in_user_space)}
  routing_table = {ROUTING_TABLE if in_user_space else NO_TABLE}
  routing_table_prio = {ROUTING_PRIORITY}
  ignore_routing_tables = {ignored}
  retransmit_timeout = 1.0
  retransmit_base = 1.5
  retransmit_tries = 4
  i_dont_care_about_security_and_use_aggressive_mode_psk = {_yes(settings_of(launch).aggressive)}
  load = {PLUGINS} {CARRIERS[in_user_space]} socket-default vici updown
  plugins {{
    vici {{
      socket = unix://{launch.directory}/{SOCKET}
    }}
    updown {{
      dns_handler = yes
    }}
    kernel-libipsec {{
      allow_peer_ts = yes
    }}
  }}
  filelog {{
    stderr {{
      default = 1
      enc = 0
      net = 0
      flush_line = yes
    }}
  }}
}}
charon-systemd {{
  journal {{
    default = -1
  }}
}}
"""
    return Secret(text.encode())


def calls(launch: Launch, *, encap: bool, if_id: int | None) -> tuple[ViciCall, ...]:
    """Return what makes the connection known and brings it up, in order; the last one takes as long as that takes."""
    name = connection_name(launch)
    wait = str(round(launch.spec.connect_timeout * 1000))
    initiate = {"ike": name, "child": name, "timeout": wait, "loglevel": "1"}
    return (
        *_credentials(launch),
        ViciCall("load-conn", "load-conn", {name: _connection(launch, encap=encap, if_id=if_id)}),
        ViciCall("initiate", "initiate", initiate),
    )


def forces_udp(launch: Launch) -> bool:
    """Force UDP where the user says so, and where the tunnel came up without it and passed nothing."""
    return settings_of(launch).encap or launch.fruitless % 2 == 1


def parting_calls(launch: Launch) -> tuple[ViciCall, ...]:
    """Return what leaves nothing of ours in a charon that goes on but a private key, whose id it alone knows."""
    name = connection_name(launch)
    return (
        ViciCall("terminate", "terminate", {"ike": name, "timeout": "2000", "loglevel": "-1"}),
        ViciCall("unload-conn", "unload-conn", {"name": name}),
        *(ViciCall("unload-shared", "unload-shared", {"id": f"{name}-{kind}"}) for kind in SECRETS),
    )


def first_line(secret: Secret) -> Secret:
    """Return a secret without the line break after it."""
    return Secret(secret.reveal().removesuffix(b"\n").removesuffix(b"\r"))


def _credentials(launch: Launch) -> Iterator[ViciCall]:
    settings, name = settings_of(launch), connection_name(launch)
    if settings.key:
        yield ViciCall("key", "load-key", {"type": "any", "data": launch.files[settings.key]})
    for kind, secret, owners in _shared(launch, settings):
        message: ViciMessage = {"id": f"{name}-{kind}", "type": kind, "data": first_line(secret), "owners": owners}
        yield ViciCall(kind.lower(), "load-shared", message)


def _shared(launch: Launch, settings: IpsecSettings) -> Iterator[tuple[str, Secret, tuple[str, ...]]]:
    """Yield the shared secrets: their type, content and owners."""
    if settings.psk:
        yield "IKE", launch.files[settings.psk], _owners(settings)
    if launch.password is not None and settings.auth is IpsecAuth.PSK:
        yield "IKE", launch.password, _owners(settings)
    elif launch.password is not None:
        yield settings.auth.name, launch.password, (settings.user or "",)


def _owners(settings: IpsecSettings) -> tuple[str, ...]:
    return tuple(filter(None, (settings.local_id, settings.remote_id)))


def _connection(launch: Launch, *, encap: bool, if_id: int | None) -> ViciMessage:
    settings = settings_of(launch)
    virtual = ("0.0.0.0", "::") if settings.virtual_address else ()  # noqa: S104 (whatever the server gives)
    return {
        "version": str(settings.version),
        "remote_addrs": (str(launch.endpoints[0].address),),
        "vips": virtual[: None if settings.version == 2 else 1],  # noqa: PLR2004 (IKEv1 has one)
        "aggressive": _yes(settings.aggressive),
        "encap": _yes(encap),
        "keyingtries": "1",
        "dpd_delay": f"{DEAD_PEER_AFTER}s",
        **_list("proposals", settings.ike_proposals),
        **_identities(settings),
        "children": {connection_name(launch): _child(launch, settings, if_id)},
    }


def _identities(settings: IpsecSettings) -> dict[str, ViciMessage]:
    """Return how each side proves who it is."""
    own: dict[str, str] = {"id": settings.local_id} if settings.local_id else {}
    by_certificate: ViciMessage = {
        "auth": "pubkey",
        "id": settings.remote_id or settings.server,
        "cacert-ours": {"file": settings.ca or ""},
    }
    by_key: ViciMessage = {"auth": "psk", **({"id": settings.remote_id} if settings.remote_id else {})}
    match settings.auth:
        case IpsecAuth.EAP:
            user = settings.user or ""
            return {"local": {"id": user, **own, "auth": "eap-mschapv2", "eap_id": user}, "remote": by_certificate}
        case IpsecAuth.CERTIFICATE:
            certificate: ViciMessage = {"file": settings.certificate or ""}
            return {"local": {**own, "auth": "pubkey", "cert-ours": certificate}, "remote": by_certificate}
        case IpsecAuth.PSK:
            return {"local": {**own, "auth": "psk"}, "remote": by_key}
        case IpsecAuth.XAUTH:
            user = settings.user or ""
            return {
                "local-1": {**own, "auth": "psk"},
                "local-2": {"auth": "xauth", "xauth_id": user},
                "remote": by_key,
            }


def _child(launch: Launch, settings: IpsecSettings, if_id: int | None) -> ViciMessage:
    is_transport = settings.mode == "transport"
    wanted = tuple(map(str, settings.remote)) or EVERYTHING[: 2 if settings.version == 2 else 1]  # noqa: PLR2004
    tied = {} if if_id is None else {"if_id_in": str(if_id), "if_id_out": str(if_id)}
    return {
        "mode": settings.mode,
        "updown": join(("env", f"{NOTIFY_VARIABLE}={launch.directory}/notify.sock", *launch.notifier)),
        "dpd_action": "clear",
        **_list("remote_ts", () if is_transport else wanted),
        **_list("local_ts", tuple(map(str, launch.spec.local))),
        # Without any proposal strongSwan takes ESP, also where AH is meant; for "default" it takes what is usual.
        **_list(f"{settings.protocol}_proposals", settings.proposals or ("default",)),
        **tied,
    }


def _list(name: str, values: Sequence[str]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(values)} if values else {}


def _yes(value: bool) -> str:  # noqa: FBT001 (the value that is told)
    return "yes" if value else "no"
