"""Forward passes over clips, and recording of head vectors."""
