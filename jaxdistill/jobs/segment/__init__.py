"""The segment verb: teachers, students alone and distilled, on sites unseen."""
