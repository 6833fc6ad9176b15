"""Eight frequent words of each language that ordinary prose can hardly do without."""

# English: Rae et al., Scaling Language Models (Gopher), 2021, appendix A1.1. The others are the most frequent
# words of their language.
STOP_WORDS = {
    "en": ("the", "be", "to", "of", "and", "that", "have", "with"),
    "de": ("der", "die", "und", "in", "den", "von", "zu", "mit"),
    "fr": ("le", "la", "de", "et", "les", "des", "que", "dans"),
    "es": ("de", "la", "que", "el", "en", "y", "los", "con"),
    "it": ("di", "che", "la", "il", "e", "un", "per", "con"),
}
