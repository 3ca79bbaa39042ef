"""The compare verb: many variants, judged alike, in one table."""
