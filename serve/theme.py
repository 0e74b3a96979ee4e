"""How the app looks: one Gradio theme, one style sheet, a few lines of script. Fonts are Gradio's own local files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOM = Path(__file__).parent
STYLE = ROOM / "style.css"
SCRIPT = ROOM / "script.js"
FAVICON = ROOM / "favicon.svg"

# Gradio puts every rule of a style sheet inside its page column; these are for the frame around it.
FRAME = """@media (max-width: 768px) {
  .gradio-container { padding: 0 !important; }
  .gradio-container .main.fillable { padding: 6px 12px !important; }
}"""
# Eleven shades each, 50 to 950.
INK = "#eef6f4 #d6e9e5 #aed3cc #82b8af #4f978c #2f7a70 #20635a #1b5049 #17403b #12332f #0a201e".split()
PAPER = "#faf9f6 #f3f1ec #e6e3db #d2cec3 #a09c91 #75726a #57554f #3d3d39 #262927 #1a1d1c #121514".split()


def make_theme() -> Any:
    """Paper and ink; the correcting red is kept for corrections and lives in the style sheet."""
    import gradio as gr

    local = gr.themes.utils.fonts.LocalFont
    theme = gr.themes.Base(
        primary_hue=gr.themes.Color(*INK),
        secondary_hue=gr.themes.Color(*INK),
        neutral_hue=gr.themes.Color(*PAPER),
        radius_size=gr.themes.sizes.radius_md,
        # The semi-bold files Gradio ships lack most letters.
        font=(local("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif"),
        font_mono=(local("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"),
    )
    return theme.set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_50",
        background_fill_secondary_dark="*neutral_900",
        block_background_fill="#ffffff",
        block_background_fill_dark="*neutral_900",
        block_border_color="*neutral_200",
        block_border_color_dark="#313633",
        border_color_primary="*neutral_200",
        border_color_primary_dark="#313633",
        body_text_color="#20241f",
        body_text_color_dark="#e8e9e4",
        body_text_color_subdued="#5f615a",
        body_text_color_subdued_dark="#a5a89f",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_shadow="none",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_500",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="#ffffff",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="#434844",
        input_background_fill="#ffffff",
        input_background_fill_dark="*neutral_900",
        input_border_width="1px",
        input_border_color="*neutral_300",
        input_border_color_dark="#434844",
        checkbox_label_background_fill="transparent",
        checkbox_label_background_fill_dark="transparent",
    )


def make_head() -> str:
    """What goes into the page's <head>: the frame's style and the script."""
    return f"<style>{FRAME}</style><script>{SCRIPT.read_text(encoding='utf-8')}</script>"
