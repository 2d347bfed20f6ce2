"""A small build engine: stages, their keys, a content-addressed cache, and the run. It knows no stage of ours."""
