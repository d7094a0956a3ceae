"A submission: a row a field, confidences from 0 to 1."

import numpy as np
import pytest

from cellprotocols.submissions import HEADER, SubmissionError, make_prediction_text, read_submission


def test_a_field_twice_and_percent_are_refused(tmp_path):
    labels = np.zeros((9, 9), np.int32)
    labels[2:6, 2:6] = 1
    text = make_prediction_text(labels, [1], np.r_[0.5, np.full(18, np.nan)][None])
    head, row = ",".join(HEADER), f"a,9,9,{text}"
    path = tmp_path / "s.csv"
    for rows, said in (([row, row], "a second row of a"), ([row.replace("0 0.5 ", "0 50 ")], "the confidence 50")):
        path.write_text("\n".join([head, *rows]))
        with pytest.raises(SubmissionError, match=said):
            list(read_submission(path))
    path.write_text(f"{head}\n{row}\n")
    assert len(next(read_submission(path)).calls) == 1
