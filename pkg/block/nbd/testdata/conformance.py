# Conformance of the server as libnbd sees it, illegal requests included.
# usage: conformance.py SOCKET EXPORT READONLY_EXPORT
import errno, sys
import nbd

sock, export, readonly = sys.argv[1:4]
SIZE = None


def opt_mode(name=export):
    h = nbd.NBD()
    h.set_opt_mode(True)
    h.set_export_name(name)
    h.connect_unix(sock)
    return h


def open(name=export, structured=True, meta=True, strict=False):
    h = nbd.NBD()
    h.set_export_name(name)
    h.set_request_structured_replies(structured)
    if meta and structured:
        h.add_meta_context("base:allocation")
    h.connect_unix(sock)
    if not strict:
        h.set_strict_mode(0)
    return h


def refused(want, f, *args):
    try:
        f(*args)
    except nbd.Error as e:
        assert e.errno == errno.errorcode[want], "%s: got %s, want %s" % (f, e.errno, errno.errorcode[want])
        return
    raise AssertionError("%s%s was not refused" % (f, args))


# Options.
h = opt_mode()
names = []
h.opt_list(lambda name, desc: names.append(name) and 0)
assert sorted(names) == sorted([export, readonly]), names
contexts = []
h.opt_list_meta_context(lambda name: contexts.append(name) and 0)
assert contexts == ["base:allocation"], contexts
h.opt_info()
SIZE = h.get_size()
h.set_export_name("absent")
refused(errno.ENOENT, h.opt_info)
refused(errno.ENOENT, h.opt_go)
h.set_export_name(export)
h.opt_go()
assert h.pread(16, 0) is not None
h.shutdown()
h = opt_mode()
h.opt_abort()

# The old way in, without structured replies.
h = nbd.NBD()
h.set_export_name(export)
h.set_handshake_flags(0)
h.connect_unix(sock)
assert h.get_size() == SIZE and h.get_protocol() == "newstyle", h.get_protocol()
h.pwrite(b"old" + bytes(509), 512)
assert h.pread(3, 512) == b"old"
h.shutdown()

for structured in (True, False):
    h = open(structured=structured)
    h.pwrite(b"\x11" * 4096, 0, nbd.CMD_FLAG_FUA)
    h.flush()
    assert h.pread(4096, 0) == b"\x11" * 4096
    h.zero(4096, 4096)
    h.pwrite(b"x", 4097)  # unaligned is served
    assert h.pread(3, 4096) == b"\0x\0"
    h.zero(4096, 0, nbd.CMD_FLAG_FUA | nbd.CMD_FLAG_NO_HOLE)
    assert h.pread(4096, 0) == bytes(4096)
    refused(errno.ENOTSUP, h.zero, 4096, 0, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
    h.zero(4096, 0, nbd.CMD_FLAG_FAST_ZERO)
    h.trim(4096, 0, nbd.CMD_FLAG_FUA)
    h.cache(4096, 0)
    # Illegal requests are refused and the connection lives on.
    refused(errno.EINVAL, h.pread, 512, SIZE)
    refused(errno.EINVAL, h.pread, 1024, SIZE - 512)
    refused(errno.ENOSPC, h.pwrite, bytes(1024), SIZE - 512)
    refused(errno.ENOSPC, h.zero, 1024, SIZE - 512)
    refused(errno.EINVAL, h.trim, 1024, SIZE - 512)
    refused(errno.EINVAL, h.pwrite, bytes(512), 0, 1 << 9)
    refused(errno.EINVAL, h.trim, 512, 0, nbd.CMD_FLAG_NO_HOLE)
    refused(errno.EINVAL, h.pwrite, b"", 0)
    refused(errno.EINVAL, h.pread, 0, 0)
    refused(errno.EINVAL, h.pread, (32 << 20) + 1, 0)
    # A refused write of any size is drained.
    refused(errno.ENOSPC, h.pwrite, bytes(8 << 20), SIZE - 512)
    assert h.pread(512, SIZE - 512) == bytes(512)
    big = bytes(range(256)) * (12 << 12)
    h.pwrite(big, 1 << 20)
    assert h.pread(len(big), 1 << 20) == big
    # Many at once, in one connection.
    bufs = [nbd.Buffer.from_bytearray(bytearray([i]) * 4096) for i in range(200)]
    cookies = [h.aio_pwrite(b, i * 4096) for i, b in enumerate(bufs)]
    while cookies:
        h.poll(-1)
        cookies = [c for c in cookies if not h.aio_command_completed(c)]
    for i in range(200):
        assert h.pread(4096, i * 4096) == bytes([i]) * 4096
    h.shutdown()

# Structured reads and block status.
h = open()
assert h.get_structured_replies_negotiated() and h.can_df() and h.can_meta_context("base:allocation")
chunks = []
h.pread_structured(8192, 0, lambda buf, off, status, err: chunks.append((off, len(buf))) and 0, nbd.CMD_FLAG_DF)
assert chunks == [(0, 8192)], chunks
h.trim(1 << 20, 0)
h.pwrite(bytes(4096), 4096)
got = []
h.block_status(16384, 0, lambda ctx, off, entries, err: got.append((ctx, off, list(entries))) and 0)
assert got == [("base:allocation", 0, [4096, 3, 4096, 0, 8192, 3])], got
got.clear()
h.block_status(16384, 0, lambda ctx, off, entries, err: got.append(list(entries)) and 0, nbd.CMD_FLAG_REQ_ONE)
assert got == [[4096, 3]], got
refused(errno.EINVAL, h.block_status, 1024, SIZE - 512, lambda *a: 0)
refused(errno.EINVAL, h.block_status, 0, 0, lambda *a: 0)
h.shutdown()

# Read-only.
h = open(readonly)
assert h.is_read_only()
refused(errno.EPERM, h.pwrite, bytes(4096), 0)
refused(errno.EPERM, h.trim, 4096, 0)
refused(errno.EPERM, h.zero, 4096, 0)
assert len(h.pread(4096, 0)) == 4096
h.flush()
h.shutdown()
print("ok")
