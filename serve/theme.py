"""How the app looks: one Gradio theme, one style sheet, a few lines of script. Fonts are Gradio's own local files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOM = Path(__file__).parent
STYLE = ROOM / "style.css"
SCRIPT = ROOM / "script.js"
FAVICON = ROOM / "favicon.svg"

INK = {50: "#eef6f4", 100: "#d6e9e5", 200: "#aed3cc", 300: "#82b8af", 400: "#4f978c", 500: "#2f7a70"}
INK |= {600: "#20635a", 700: "#1b5049", 800: "#17403b", 900: "#12332f", 950: "#0a201e"}
PAPER = {50: "#faf9f6", 100: "#f3f1ec", 200: "#e6e3db", 300: "#d2cec3", 400: "#a09c91", 500: "#75726a"}
PAPER |= {600: "#57554f", 700: "#3d3d39", 800: "#262927", 900: "#1a1d1c", 950: "#121514"}


def make_theme() -> Any:
    """Paper and ink; the correcting red is kept for corrections and lives in the style sheet."""
    import gradio as gr

    local = gr.themes.utils.fonts.LocalFont
    theme = gr.themes.Base(
        primary_hue=gr.themes.Color(*(INK[shade] for shade in sorted(INK)), name="ink"),
        secondary_hue=gr.themes.Color(*(INK[shade] for shade in sorted(INK)), name="ink"),
        neutral_hue=gr.themes.Color(*(PAPER[shade] for shade in sorted(PAPER)), name="paper"),
        radius_size=gr.themes.sizes.radius_md,
        font=(local("IBM Plex Sans", weights=(400, 600)), "ui-sans-serif", "system-ui", "sans-serif"),
        font_mono=(local("IBM Plex Mono", weights=(400, 600)), "ui-monospace", "monospace"),
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
        button_primary_background_fill_hover_dark="*primary_400",
        button_primary_text_color="#ffffff",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="#434844",
        input_background_fill="#ffffff",
        input_background_fill_dark="*neutral_900",
        input_border_color="*neutral_300",
        input_border_color_dark="#434844",
        checkbox_label_background_fill="transparent",
        checkbox_label_background_fill_dark="transparent",
    )
