"""The pages as people see them: in Chromium, at two widths, light and dark.

Every look leaves a picture in ``build/pictures``. Needs Debian's package chromium.
"""
