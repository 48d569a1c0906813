"""Records: anything that can be counted, summed by key as it comes, settled in rounds. No record is lost or counts twice."""
