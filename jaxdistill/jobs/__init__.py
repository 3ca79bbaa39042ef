"""What the verbs do, a folder each; below them are libraries that know no job."""
