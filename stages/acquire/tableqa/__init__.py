"""Questions over tables with exact answers: queries are drawn, executed twice and kept."""
