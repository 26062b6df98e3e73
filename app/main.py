"""The dashboard's router: its pages, and one choice in the sidebar for all of them. `streamlit run app/main.py`."""

import gc
from pathlib import Path

gc.disable()  # the first picture is mostly imports, which leave no garbage to collect
try:
    import common
    import streamlit as st

    st.set_page_config(page_title="nvlib", page_icon=str(Path(__file__).with_name("icon.svg")), layout="wide")
    page = st.navigation(
        [
            st.Page("views/overview.py", title="Overview", icon=":material/home:", default=True),
            st.Page("views/explore.py", title="Explore", icon=":material/query_stats:"),
        ]
    )
    with common.guarded():
        common.sidebar()
        page.run()
finally:
    gc.enable()
