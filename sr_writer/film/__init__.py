"""The film: one page that shows what was found, for every PACS that shows pictures.

`words` holds all of its text in each language, `content` what it says, `views` what it shows of the scan,
`page` where each of them stands.
"""
