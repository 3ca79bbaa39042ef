"""The one door for files that others wrote: bounded, checked, refused in one sentence.

Whatever a file says of itself is compared with these bounds before it is believed, so
that a refusal takes little memory and little time.
"""

from jaxdistill.foreign.archives import Archive as Archive
from jaxdistill.foreign.archives import open_archive as open_archive
from jaxdistill.foreign.arrays import Field as Field
from jaxdistill.foreign.arrays import headers as headers
from jaxdistill.foreign.arrays import read_npz as read_npz
from jaxdistill.foreign.files import open_file as open_file
from jaxdistill.foreign.files import read_bytes as read_bytes
from jaxdistill.foreign.files import short as short
from jaxdistill.foreign.json_files import parse_json as parse_json
from jaxdistill.foreign.json_files import read_json as read_json
from jaxdistill.foreign.names import look_alikes as look_alikes
from jaxdistill.foreign.names import shown as shown
from jaxdistill.foreign.records import as_record as as_record
from jaxdistill.foreign.tensors import read_tensors as read_tensors
