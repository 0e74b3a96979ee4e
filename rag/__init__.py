"""Manual to cited answer: parse, chunk, index, retrieve, answer."""
