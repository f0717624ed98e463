"""Reads files of TS 32.297 with records of TS 32.298 by another hand: headers with struct, records with pycrate.

One JSON object for each file named, in a line of its own. Octets are hexadecimal digits, choices are lists of name and value.
"""
import json
import struct
import sys

from pycrate_asn1dir import CDR

RECORD = CDR.GPRSChargingDataTypes.GPRSRecord


def plain(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    # A JSON reader may round what passes 2**53.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def local(octets):
    word = int.from_bytes(octets, "big")
    month, day, hour, minute = word >> 28, word >> 23 & 31, word >> 18 & 31, word >> 12 & 63
    sign = "+" if word >> 11 & 1 else "-"
    return f"{month:02}-{day:02} {hour:02}:{minute:02} {sign}{word >> 6 & 31:02}{word & 63:02}"


def decode(path):
    data = open(path, "rb").read()
    length, header_length, high, low = struct.unpack_from(">IIBB", data)
    cdrs, sequence, closure = struct.unpack_from(">IIB", data, 18)
    address, lost, filter_length = data[27:47], data[47], struct.unpack_from(">H", data, 48)[0]
    rest = data[50 + filter_length:header_length]
    assert len(data) == length and filter_length == 0, (len(data), length, filter_length)
    extension = None if len(rest) == 2 else struct.unpack_from(">H", rest)[0]
    header = {
        "length": length, "header": header_length, "high": f"{high >> 5}.{high & 31}", "low": f"{low >> 5}.{low & 31}",
        "opening": local(data[10:14]), "append": local(data[14:18]), "cdrs": cdrs, "sequence": sequence, "closure": closure,
        "address": address.hex(), "lost": lost, "extension": extension, "releases": rest[-2:].hex(),
    }
    records, at = [], header_length
    while at < len(data):
        size, version, form, release = struct.unpack_from(">HBBB", data, at)
        octets = data[at + 5:at + 5 + size]
        assert len(octets) == size, (at, size)
        RECORD.from_ber(octets)
        name, value = RECORD.get_val()
        assert name == "tDFRecord", name
        records.append({"version": f"{version >> 5}.{version & 31}", "format": form >> 5, "ts": form & 31,
                        "release": release, "value": plain(value)})
        at += 5 + size
    assert len(records) == cdrs, (len(records), cdrs)
    return {"header": header, "records": records}


for path in sys.argv[1:]:
    print(json.dumps(decode(path)))
