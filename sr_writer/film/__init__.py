"""The film: one page that shows what was found, for every PACS that shows pictures.

`words` holds all of its text in each language, `content` what it says, `views` what it shows of the scan,
`page` where each of them stands. Where a scan is compared with an earlier one, the page goes on below:
`comparison_words`, `comparison_content`, `pairs` with `change_map` and `trend`, and `comparison_page` do the
same for that half, which says why it is no second picture.
"""
