"""A version as files of an Iceberg table. Data files stay as they are where Iceberg can read them so; those with
deleted rows, or with columns that only Bough can still name or type, are written anew."""

from __future__ import annotations

import msgspec

from bough.adapters.tables import PARQUET, Session, Tables, literal, quoted
from bough.data.tables import iceberg
from bough.data.tables.models import DataFile, Version
from bough.data.tables.store import TableFiles
from bough.data.tables.writing import LIMITS

_ANY = "t"  # the name of the table in sessions


class ExportedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of an export, named by its blob. `rewritten`: its content is none that the table itself has."""

    path: str
    blob: str
    bytes: int
    rewritten: bool = False


def export(files: TableFiles, tables: Tables, version: Version, location: str, at_ms: int) -> list[ExportedFile]:
    found, held, layouts = list[ExportedFile](), list[iceberg.Held](), []
    for place, each in enumerate(version.files):
        if not each.live:
            continue
        with tables.session({_ANY: files.relation(version, [place])}, limits=LIMITS) as session:
            stays = _stays(session, files, version, each)
            blob, size = (each.blob, each.bytes) if stays else _rewritten(session, files, version)
        if stays:
            layouts.append(version.layouts[each.layout])
        path = f"{iceberg.DATA}/{place:05}-{blob[:16]}.{PARQUET}"
        found.append(ExportedFile(path=path, blob=blob, bytes=size, rewritten=not stays))
        held.append(iceberg.Held(path=path, rows=each.live, bytes=size))
    schema = iceberg.schema_of(version, layouts)
    for path, content in iceberg.metadata(version, schema, held, location, at_ms).items():
        blob = files.blobs.put(content)
        found.append(ExportedFile(path=path, blob=blob, bytes=len(content), rewritten=True))
    return found


def _stays(session: Session, files: TableFiles, version: Version, file: DataFile) -> bool:
    if file.deleted:
        return False
    path = literal(files.path(file.blob))
    ids = dict(session.rows(f"SELECT name, field_id FROM parquet_schema({path}) WHERE field_id IS NOT NULL").rows)
    names = [each.name for each in session.describe(f"SELECT * FROM read_parquet({path}, hive_partitioning=false)")]
    return iceberg.stays(version, version.layouts[file.layout], [(name, ids.get(name)) for name in names])


def _rewritten(session: Session, files: TableFiles, version: Version) -> tuple[str, int]:
    columns = [
        f"CAST({quoted(each.name)} AS {iceberg.written_as(each)}) AS {quoted(each.name)}" for each in version.fields
    ]
    path = session.write(f"SELECT {', '.join(columns)} FROM {_ANY}")
    return files.keep(path), path.stat().st_size
