"""The dashboard's router: its pages, and one choice in the sidebar for all of them. `streamlit run app/main.py`."""

import gc
from pathlib import Path

gc.disable()  # the first picture is mostly imports, which leave no garbage to collect
try:
    import common
    import streamlit as st
    from common import pages

    st.set_page_config(page_title="nvlib", page_icon=str(Path(__file__).with_name("icon.svg")), layout="wide")
    page = st.navigation([
        st.Page(pages.file(name), title=each.title, icon=each.symbol, default=not number)
        for number, (name, each) in enumerate(pages.PAGES.items())
    ])  # fmt: skip
    with common.guarded():
        common.plugged.load()
    with common.guarded():
        common.sidebar()
        page.run()
finally:
    gc.enable()
