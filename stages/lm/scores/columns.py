"""The columns of scores: what is counted of every document, whole numbers all."""

from __future__ import annotations

COLUMNS = (
    # the whole text
    "characters", "alphanumeric", "newlines", "hashes", "ellipses", "assignments",
    # words (`stages.lm.scores.words`)
    "words", "solid_words", "solid_characters", "letter_words", "stop_words",
    # lines as `str.splitlines` has them
    "lines", "bullet_lines", "ellipsis_lines", "line_characters", "longest_line",
    # pieces between line feeds, with letters or not
    "filled_lines", "ended_lines", "short_lines", "long_lines", "repeated_line_characters",
    # pieces between runs of line feeds; paragraphs: runs of two at least
    "rows", "repeated_rows", "repeated_row_characters",
    "paragraphs", "repeated_paragraphs", "repeated_paragraph_characters",
    # characters of n-grams of words
    "top_2gram_characters", "top_3gram_characters", "top_4gram_characters",
    "repeated_5gram_characters", "repeated_6gram_characters", "repeated_7gram_characters",
    "repeated_8gram_characters", "repeated_9gram_characters", "repeated_10gram_characters",
    # what C4 makes of the lines
    "c4_kept_lines", "c4_long_word_lines", "c4_unended_lines", "c4_few_word_lines",
    "c4_script_lines", "c4_policy_lines", "c4_lorem", "c4_curly", "c4_sentences",
    # code
    "automatic", "testing_head", "config_words", "test_words", "syntax_words", "draw",
)  # fmt: skip
"""Names of the columns in their order."""
(
    CHARACTERS, ALPHANUMERIC, NEWLINES, HASHES, ELLIPSES, ASSIGNMENTS,
    WORDS, SOLID_WORDS, SOLID_CHARACTERS, LETTER_WORDS, STOP_WORDS,
    LINES, BULLET_LINES, ELLIPSIS_LINES, LINE_CHARACTERS, LONGEST_LINE,
    FILLED_LINES, ENDED_LINES, SHORT_LINES, LONG_LINES, REPEATED_LINE_CHARACTERS,
    ROWS, REPEATED_ROWS, REPEATED_ROW_CHARACTERS,
    PARAGRAPHS, REPEATED_PARAGRAPHS, REPEATED_PARAGRAPH_CHARACTERS,
    TOP_2, TOP_3, TOP_4, REPEATED_5, REPEATED_6, REPEATED_7, REPEATED_8, REPEATED_9, REPEATED_10,
    C4_KEPT, C4_LONG_WORD, C4_UNENDED, C4_FEW_WORDS, C4_SCRIPT, C4_POLICY, C4_LOREM, C4_CURLY,
    C4_SENTENCES, AUTOMATIC, TESTING_HEAD, CONFIG_WORDS, TEST_WORDS, SYNTAX_WORDS, DRAW,
) = range(len(COLUMNS))  # fmt: skip
DRAWS = 1 << 32
"""`draw` is a number below this that depends on the text alone: what is dropped by chance."""
