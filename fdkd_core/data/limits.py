"""What a data set may cost us. A file over a limit is refused before it is read, or while it is.

Limits bound memory, time and disk against hostile files; every honest data set of the supported size
fits under them with room to spare.
"""

from __future__ import annotations

from dataclasses import dataclass

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB


@dataclass(frozen=True)
class Limits:
    """The limits of one reading. All are inclusive: the value itself is still allowed."""

    max_archive_entries: int = 200_000
    """Entries of a zip or tar. Each costs about 0.5 KiB of memory and 5 microseconds."""
    max_directory_bytes: int = 64 * MiB
    """A zip's list of contents: 200,000 entries with long names take about 60 MiB."""
    max_name_chars: int = 255
    """A member's whole path. Longer ones do not survive common file systems and web interfaces."""
    max_member_bytes: int = 256 * MiB
    """One file of a data set, unpacked: it is held in memory as a whole while it is decoded."""
    max_total_bytes: int = 64 * GiB
    """All files of an archive, unpacked, by the archive's own account."""
    max_unpacked_tar_bytes: int = 16 * GiB
    """A compressed tar is unpacked to an anonymous temporary file, so this is disk space."""
    max_ratio: int = 100
    """Unpacked over packed bytes. Real media stay under 20; deflate's bombs reach 1,032."""
    ratio_floor_bytes: int = 1 * MiB
    """A member no larger than this when unpacked may have any ratio: empty images, constant series."""
    total_ratio_floor_bytes: int = 64 * MiB
    """The same for an archive as a whole, and for one array: the `split` array of 2,000,000 rows takes
    40 MB, and packs 1,000:1 in honest files."""
    max_manifest_bytes: int = 256 * MiB
    """The manifest is held in memory as a whole. 2,000,000 rows of 128 bytes."""
    max_description_bytes: int = 256 * KiB
    """dataset.yaml: 10,000 class names of 20 characters. The YAML parser manages 1 MB/s."""
    max_line_bytes: int = 1 * MiB
    """One line of a .jsonl manifest."""
    max_cell_chars: int = 1 * MiB
    """One value in a manifest, or one text. Longer than any text a small model can read."""
    max_rows: int = 2_000_000
    """Rows of a data set. Ids, labels and paths are Python strings: about 0.5 KiB a row."""
    min_rows: int = 4
    """Two training rows (two classes), one for validation and one for the test."""
    max_columns: int = 256
    """Columns of a table, arrays of an .npz."""
    max_id_chars: int = 255
    """One row's id."""
    max_label_chars: int = 255
    """One class label: it is printed in every report."""
    max_classes: int = 10_000
    """More distinct labels than this are an id or a measurement that was named `label`."""
    max_label_values: int = 200_000_000
    """Rows times classes, where labels are sets of classes, or times numbers: 0.8 GB in memory. All rows with
    a hundred classes, or 20,000 with all classes that there may be."""
    max_mask_values: int = 2_000_000_000
    """Pixels of all masks at the size in which they are learnt: 2 GB in memory, 30,000 of 256 x 256."""
    max_table_bytes: int = 8 * GiB
    """All values of an .npz or parquet file: they are held in memory."""
    max_npy_header_chars: int = 10_000
    """The header of an array is a Python literal; long ones can crash the parser (numpy's own limit)."""
    max_parquet_file_bytes: int = 16 * GiB
    """A parquet file as it lies on disk."""
    max_parquet_footer_bytes: int = 16 * MiB
    """The footer grows about tenfold in memory, before anything in it can be checked."""
    max_row_groups: int = 10_000
    """Row groups of a parquet file: 2,000,000 rows at 200 a group."""
    max_bad_rows: int = 10
    """Bad rows reported per kind of problem: enough to see the pattern."""


DEFAULT = Limits()
