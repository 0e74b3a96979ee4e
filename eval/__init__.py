"""Questions x arms to verdict: run, score, compare, gate, report."""
