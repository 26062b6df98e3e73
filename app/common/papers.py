"""The four papers as BibTeX; what their text at hand does not say (pages, DOI) is left out."""

BIBTEX = {
    "TRICE": """@inproceedings{trice2023,
  title     = {Improving Realistic Worst-Case Performance of {NVCiM} {DNN} Accelerators through Training with
               Right-Censored {Gaussian} Noise},
  author    = {Yan, Zheyu and Qin, Yifan and Wen, Wujie and Hu, Xiaobo Sharon and Shi, Yiyu},
  booktitle = {IEEE/ACM International Conference on Computer-Aided Design (ICCAD)},
  year      = {2023},
}""",
    "NFT": """@article{nft2023,
  title   = {Negative Feedback Training: A Novel Concept to Improve Robustness of {NVCIM} {DNN} Accelerators},
  author  = {Qin, Yifan and Yan, Zheyu and Wen, Wujie and Hu, Xiaobo Sharon and Shi, Yiyu},
  journal = {arXiv preprint arXiv:2305.14561},
  year    = {2023},
}""",
    "OVF": """@misc{ovf,
  title  = {Sustainable Deployment of Deep Neural Networks on Non-Volatile Compute-in-Memory Accelerators},
  author = {Qin, Yifan and Yan, Zheyu and Wen, Wujie and Hu, Xiaobo Sharon and Shi, Yiyu},
}""",
    "TSB": """@article{tsb2024,
  title   = {{TSB}: Tiny Shared Block for Efficient {DNN} Deployment on {NVCIM} Accelerators},
  author  = {Qin, Yifan and Yan, Zheyu and Pan, Zixuan and Wen, Wujie and Hu, Xiaobo Sharon and Shi, Yiyu},
  journal = {arXiv preprint arXiv:2406.06544},
  year    = {2024},
}""",
}
