"""Faces: two words of one sign each that are one word where nothing stands between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.lm.kernels.compiled import plain

_FACES = (
    "(: (; (= 8) ): :( :) :* :/ :0 :1 :3 :> :D :O :P :X :] :o :p :x :| :} ;) ;D =( =) =/ =3 =D =["
    " =] =| [: [= ]= xD XD 8D <3 '' ’’"
)
FACES = _FACES.split()
"""The faces; the last are quotation marks that make one."""
FACE_CODES = np.array([[ord(one) for one in face] for face in FACES], np.uint32)


@plain
def faces(codes: Any, out: Any, first: Any, count: Any) -> int:
    """Join the two signs of a face among the rows first .. count - 1; return the next row."""
    to = number = first
    while number < count:
        start = out[number, 0]
        out[to, 0], out[to, 1] = start, out[number, 1]
        if (
            number + 1 < count
            and out[number, 1] == start + 1
            and out[number + 1, 0] == start + 1
            and out[number + 1, 1] == start + 2
        ):
            for row in range(len(FACE_CODES)):
                if FACE_CODES[row, 0] == codes[start] and FACE_CODES[row, 1] == codes[start + 1]:
                    out[to, 1] = start + 2
                    number += 1
                    break
        to += 1
        number += 1
    return to
