"""BitTorrent: libtorrent peers over TCP and uTP, in clear."""

from lab import Cases

PIP = ["libtorrent"]
cases = Cases()
PORT = 6881


def check(flow, c2s, s2c):
    """Complain about what the flow claims and its bytes do not show."""
    for said in filter(None, (c2s, s2c)):
        if b"\x13BitTorrent protocol" not in said[:200]:
            yield f"no handshake: {said[:24]!r}"


def share(lab, transport):
    """A seed on the server, a peer on the client that is told of it."""
    home, target, address = lab.directory("seed"), lab.directory("peer"), lab.server.v4
    text = lab.canary("text")
    (home / "file").write_text(text * 400)
    settings = {"enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
                "enable_outgoing_utp": transport == "udp", "enable_incoming_utp": transport == "udp",
                "enable_outgoing_tcp": transport == "tcp", "enable_incoming_tcp": transport == "tcp",
                "in_enc_policy": 2, "out_enc_policy": 2, "allow_multiple_connections_per_ip": True}

    def torrent():
        import libtorrent as lt
        files = lt.file_storage()
        lt.add_files(files, str(home / "file"))
        made = lt.create_torrent(files, 16384, lt.create_torrent.v1_only)
        lt.set_piece_hashes(made, str(home))
        return lt.bencode(made.generate())
    metadata = lab.server.call(torrent)

    def seed():
        import time

        import libtorrent as lt
        session = lt.session({**settings, "listen_interfaces": f"{address}:{PORT}"})
        handle = session.add_torrent({"ti": lt.torrent_info(lt.bdecode(metadata)), "save_path": str(home)})
        end = time.monotonic() + 8
        while time.monotonic() < end and handle.status().total_upload < len(text) * 400:
            time.sleep(0.1)
        time.sleep(0.5)

    def peer():
        import time

        import libtorrent as lt
        session = lt.session({**settings, "listen_interfaces": "0.0.0.0:0"})
        handle = session.add_torrent({"ti": lt.torrent_info(lt.bdecode(metadata)), "save_path": str(target)})
        end = time.monotonic() + 8
        while time.monotonic() < end and not handle.status().is_seeding:
            if not handle.status().num_peers:
                handle.connect_peer((address, PORT))
            time.sleep(0.1)
        return lt.__version__
    running = lab.server.spawn(seed)
    lab.server.wait_port(PORT, kind=transport)
    version = lab.client.call(peer)
    running.result()
    lab.versions(server=f"libtorrent {version}", client=f"libtorrent {version}")
    return lab.flow(transport=transport, server_port=PORT, encryption="plaintext", app="bittorrent",
                    outcome="established", plaintext_reason="no_in_band_upgrade", confidence="both_sides")


@cases.case("tcp", "a peer and a seed over TCP")
def _(lab):
    return [share(lab, "tcp")]


@cases.case("utp", "a peer and a seed over uTP")
def _(lab):
    return [share(lab, "udp")]
