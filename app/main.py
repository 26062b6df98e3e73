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
            st.Page("views/compare.py", title="Compare", icon=":material/balance:"),
            st.Page("views/why.py", title="Why (Taylor)", icon=":material/function:"),
            st.Page("views/device_lab.py", title="Device lab", icon=":material/memory:"),
            st.Page("views/life.py", title="Life", icon=":material/schedule:"),
            st.Page("views/deploy.py", title="Deploy", icon=":material/build:"),
            st.Page("views/run.py", title="Run", icon=":material/play_circle:"),
            st.Page("views/reproduce.py", title="Reproduce", icon=":material/fact_check:"),
        ]
    )
    with common.guarded():
        common.plugged.load()
    with common.guarded():
        common.sidebar()
        page.run()
finally:
    gc.enable()
